//! A command in a container of a server, by its WebSocket (`berth-api`, `routes/host.rs`).

use std::process::ExitCode;

use berth_client::{Client, WebSocket, segment};
use berth_error::{Report, ResultExt as _};
use futures_util::stream::SplitSink;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;

use super::Wanted;
use crate::printer;
use crate::terminal::{RawTerminal, size};

/// Connects a command to this process's streams and terminal until it ends; its exit code.
pub(super) async fn attend(
    client: &Client,
    id: &str,
    wanted: &Wanted,
    terminal: Option<(u16, u16)>,
) -> Result<ExitCode, Report> {
    let path = format!("berth/containers/{}/exec", segment(id));
    let socket = client.websocket(&path).await?;
    let (mut sink, mut stream) = socket.split();
    let request = json!({
        "command": wanted.command,
        "env": wanted.env,
        "working_dir": wanted.workdir,
        "user": wanted.user,
        "terminal": terminal,
    });
    let broken = "the connection to the command broke off";
    sink.send(Message::Text(request.to_string().into()))
        .await
        .context(broken)?;
    let _raw = terminal.map(|_| RawTerminal::enter());
    let (messages, outgoing) = mpsc::channel(8);
    let tasks = [
        tokio::spawn(write(sink, outgoing)),
        tokio::spawn(feed(messages.clone())),
        tokio::spawn(follow_size(messages, terminal.is_some())),
    ];
    let outcome = loop {
        let Some(message) = stream.next().await else {
            break Err(Report::new(broken, None));
        };
        match message.context(broken) {
            Ok(Message::Binary(bytes)) => {
                if let Err(error) = show(&bytes) {
                    break Err(Report::from_error(&error).context("could not print the output"));
                }
            }
            Ok(Message::Text(text)) => break end(&text),
            Ok(Message::Close(_)) => break Err(Report::new(broken, None)),
            Ok(_) => {}
            Err(report) => break Err(report),
        }
    };
    for task in tasks {
        task.abort();
    }
    outcome
}

fn show(bytes: &[u8]) -> std::io::Result<()> {
    match bytes.split_first() {
        Some((1, output)) => printer::raw(output),
        Some((2, output)) => printer::raw_error(output),
        _ => Ok(()),
    }
}

/// The last message.
fn end(text: &str) -> Result<ExitCode, Report> {
    let last: Value = serde_json::from_str(text).context("the server's answer is not JSON")?;
    if let Some(error) = last["error"].as_str() {
        return Err(Report::new(error.to_owned(), None));
    }
    let code = last["exit"].as_i64().unwrap_or(0);
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)))
}

async fn write(mut sink: SplitSink<WebSocket, Message>, mut outgoing: mpsc::Receiver<Message>) {
    while let Some(message) = outgoing.recv().await {
        if sink.send(message).await.is_err() {
            return;
        }
    }
}

/// Copies standard input to the command, and its end as the end of file.
async fn feed(messages: mpsc::Sender<Message>) {
    let mut stdin = tokio::io::stdin();
    let mut buffer = vec![0; 16 << 10];
    loop {
        let message = match stdin.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(length) => Message::Binary(buffer[..length].to_vec().into()),
        };
        if messages.send(message).await.is_err() {
            return;
        }
    }
    let end = json!({"eof": true}).to_string();
    let _ = messages.send(Message::Text(end.into())).await;
}

/// Tells the command's terminal whenever this one changes its size.
async fn follow_size(messages: mpsc::Sender<Message>, has_terminal: bool) {
    let Ok(mut changes) = signal(SignalKind::window_change()) else {
        return;
    };
    while has_terminal && changes.recv().await.is_some() {
        let Some((rows, columns)) = size() else {
            return;
        };
        let text = json!({"resize": [rows, columns]}).to_string();
        if messages.send(Message::Text(text.into())).await.is_err() {
            return;
        }
    }
}
