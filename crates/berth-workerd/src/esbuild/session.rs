//! One esbuild process: start it, run one build, answer what it asks meanwhile.

use std::collections::HashMap;
use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::packet::{Packet, Value, map};

/// The key of the only build of a session.
const BUILD_KEY: u32 = 0;
/// Largest packet that is read: outputs of a build arrive in one.
const MAX_PACKET: usize = 1 << 30;

/// Why esbuild could not be used. Mistakes in the source are not among these.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The executable does not start.
    #[error("could not start esbuild at `{path}`")]
    Start {
        /// The executable.
        path: std::path::PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// It ended or closed its pipes.
    #[error("esbuild ended before it answered")]
    Ended(#[source] std::io::Error),
    /// It sent something that its protocol does not have.
    #[error("esbuild sent {0}")]
    Protocol(&'static str),
    /// It refused a request.
    #[error("esbuild refused: {0}")]
    Refused(String),
}

/// A question for esbuild's own resolver.
#[derive(Clone, Debug)]
pub(crate) struct Resolve {
    /// What is imported.
    pub(crate) path: String,
    /// `import-statement`, `require-call`, …
    pub(crate) kind: String,
    /// The importing file.
    pub(crate) importer: String,
    /// Directory that relative paths and `node_modules` are looked up from.
    pub(crate) resolve_dir: String,
    /// Given back to the plugin if the question reaches it again.
    pub(crate) plugin_data: u32,
}

/// esbuild's answer: a reply to a [`Resolve`].
#[derive(Clone, Debug)]
pub(crate) struct Resolution(pub(crate) Value);

impl Resolution {
    /// The resolved path, unless it failed.
    pub(crate) fn path(&self) -> Option<&str> {
        let path = self.0.get("path").text();
        (self.0.get("errors").list().is_empty() && !path.is_empty()).then_some(path)
    }

    /// The answer as a plugin's own result.
    pub(crate) fn into_result(self) -> Vec<(String, Value)> {
        ["path", "external", "sideEffects", "namespace", "suffix"]
            .iter()
            .map(|key| ((*key).to_owned(), self.0.get(key).clone()))
            .filter(|(_, value)| *value != Value::Null)
            .collect()
    }
}

/// What a plugin does with a question.
#[derive(Debug)]
pub(crate) enum Step<W> {
    /// Answer. Without members: not for this plugin.
    Answer(Vec<(String, Value)>),
    /// Ask esbuild first, then [`Plugin::resolved`] with what is kept in between.
    Ask(Resolve, W),
}

/// Answers esbuild's questions during a build.
pub(crate) trait Plugin {
    /// What a plugin remembers while esbuild resolves something for it.
    type Waiting;

    /// `onResolve` filters (Go regular expressions), numbered from 0.
    fn resolve_filters(&self) -> Vec<String>;
    /// Namespaces whose modules this plugin loads, numbered from 0.
    fn load_namespaces(&self) -> Vec<String>;
    /// An import matched filter `id`.
    fn resolve(&mut self, id: u32, request: &Value) -> Step<Self::Waiting>;
    /// esbuild's answer to [`Step::Ask`].
    fn resolved(&mut self, waiting: Self::Waiting, resolution: Resolution) -> Step<Self::Waiting>;
    /// The content of a module in one of the namespaces.
    fn load(&mut self, request: &Value) -> Vec<(String, Value)>;
}

/// A running esbuild. Dropping it ends the process.
pub(crate) struct Session {
    // Held for its `kill_on_drop`.
    _child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    next_id: u32,
}

/// A question of esbuild that waits for an answer of esbuild.
struct Pending<W> {
    /// Of the question.
    request: u32,
    /// The filter that matched, and the ones to try after it.
    id: u32,
    rest: Vec<u32>,
    question: Value,
    waiting: W,
}

impl Session {
    /// Starts esbuild in `directory`; `version` is its own version.
    pub(crate) async fn start(
        executable: &Path,
        version: &str,
        directory: &Path,
    ) -> Result<Self, SessionError> {
        let mut child = Command::new(executable)
            .arg(format!("--service={version}"))
            .current_dir(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| SessionError::Start {
                path: executable.to_owned(),
                source,
            })?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(SessionError::Protocol("no pipes"));
        };
        let mut session = Self {
            _child: child,
            stdin,
            stdout: BufReader::new(stdout),
            next_id: 0,
        };
        if session.read().await? != version.as_bytes() {
            return Err(SessionError::Protocol("another version than its package's"));
        }
        Ok(session)
    }

    /// Runs one build and returns esbuild's reply: `errors`, `warnings`, `outputFiles`, `metafile`.
    pub(crate) async fn build<P: Plugin>(
        &mut self,
        entry: &Path,
        directory: &Path,
        flags: Vec<String>,
        plugin: &mut P,
    ) -> Result<Value, SessionError> {
        let entry = Value::List(vec!["".into(), entry.to_string_lossy().as_ref().into()]);
        let build = self
            .request(map([
                ("command", "build".into()),
                ("key", BUILD_KEY.into()),
                ("entries", Value::List(vec![entry])),
                ("flags", flags.into()),
                ("write", false.into()),
                ("stdinContents", Value::Null),
                ("stdinResolveDir", Value::Null),
                ("absWorkingDir", directory.to_string_lossy().as_ref().into()),
                ("nodePaths", Value::List(Vec::new())),
                ("context", false.into()),
                ("plugins", Value::List(vec![registration(plugin)])),
            ]))
            .await?;
        let mut pending: HashMap<u32, Pending<P::Waiting>> = HashMap::new();
        loop {
            let packet = Packet::decode(&self.read().await?)?;
            if packet.reply && packet.id == build {
                return accepted(packet.value);
            }
            if packet.reply {
                let Some(waiting) = pending.remove(&packet.id) else {
                    return Err(SessionError::Protocol("a reply to no request"));
                };
                let step = plugin.resolved(waiting.waiting, Resolution(accepted(packet.value)?));
                let Pending {
                    request,
                    id,
                    rest,
                    question,
                    ..
                } = waiting;
                let next = Question {
                    request,
                    id,
                    rest,
                    question,
                };
                self.advance(next, step, plugin, &mut pending).await?;
                continue;
            }
            match packet.value.get("command").text() {
                "on-resolve" => {
                    let mut ids = packet.value.get("ids").list().iter().filter_map(Value::int);
                    let Some(id) = ids.next() else {
                        return Err(SessionError::Protocol("a question to nobody"));
                    };
                    let next = Question {
                        request: packet.id,
                        id,
                        rest: ids.collect(),
                        question: packet.value,
                    };
                    let step = plugin.resolve(id, &next.question);
                    self.advance(next, step, plugin, &mut pending).await?;
                }
                "on-load" => {
                    let id = packet.value.get("ids").list().first().cloned();
                    let mut reply = plugin.load(&packet.value);
                    reply.push(("id".to_owned(), id.unwrap_or(Value::Null)));
                    self.send(packet.id, true, Value::Map(reply)).await?;
                }
                _ => {
                    // `on-start`, which is asked of every plugin.
                    let nothing = || Value::List(Vec::new());
                    let reply = map([("errors", nothing()), ("warnings", nothing())]);
                    self.send(packet.id, true, reply).await?;
                }
            }
        }
    }

    /// Carries a question on until it is answered or esbuild has been asked something for it.
    async fn advance<P: Plugin>(
        &mut self,
        mut next: Question,
        mut step: Step<P::Waiting>,
        plugin: &mut P,
        pending: &mut HashMap<u32, Pending<P::Waiting>>,
    ) -> Result<(), SessionError> {
        loop {
            match step {
                Step::Answer(answer) if answer.is_empty() && !next.rest.is_empty() => {
                    next.id = next.rest.remove(0);
                    step = plugin.resolve(next.id, &next.question);
                }
                Step::Answer(mut answer) => {
                    if !answer.is_empty() {
                        answer.push(("id".to_owned(), next.id.into()));
                    }
                    return self.send(next.request, true, Value::Map(answer)).await;
                }
                Step::Ask(ask, waiting) => {
                    let asked = self.request(resolve_request(ask)).await?;
                    let Question {
                        request,
                        id,
                        rest,
                        question,
                    } = next;
                    let waits = Pending {
                        request,
                        id,
                        rest,
                        question,
                        waiting,
                    };
                    pending.insert(asked, waits);
                    return Ok(());
                }
            }
        }
    }

    /// esbuild's own rendering of messages (a reply's `errors` or `warnings`), each with its place
    /// in the source.
    pub(crate) async fn format(
        &mut self,
        messages: &Value,
        warnings: bool,
    ) -> Result<Vec<String>, SessionError> {
        let id = self
            .request(map([
                ("command", "format-msgs".into()),
                ("messages", messages.clone()),
                ("isWarning", warnings.into()),
                ("color", false.into()),
            ]))
            .await?;
        let packet = Packet::decode(&self.read().await?)?;
        if !packet.reply || packet.id != id {
            return Err(SessionError::Protocol(
                "something else than formatted messages",
            ));
        }
        let reply = accepted(packet.value)?;
        let texts = reply.get("messages").list().iter();
        Ok(texts
            .map(|text| text.text().trim_end().to_owned())
            .collect())
    }

    async fn request(&mut self, value: Value) -> Result<u32, SessionError> {
        let id = self.next_id;
        self.next_id += 1;
        self.send(id, false, value).await?;
        Ok(id)
    }

    async fn send(&mut self, id: u32, reply: bool, value: Value) -> Result<(), SessionError> {
        let bytes = Packet { id, reply, value }.encode();
        let written = self.stdin.write_all(&bytes).await;
        written.map_err(SessionError::Ended)
    }

    async fn read(&mut self) -> Result<Vec<u8>, SessionError> {
        let len = self
            .stdout
            .read_u32_le()
            .await
            .map_err(SessionError::Ended)? as usize;
        if len > MAX_PACKET {
            return Err(SessionError::Protocol("a packet over 1 GiB"));
        }
        let mut bytes = vec![0; len];
        let read = self.stdout.read_exact(&mut bytes).await;
        read.map_err(SessionError::Ended)?;
        Ok(bytes)
    }
}

/// An import that esbuild asks about.
struct Question {
    request: u32,
    id: u32,
    rest: Vec<u32>,
    question: Value,
}

fn accepted(reply: Value) -> Result<Value, SessionError> {
    match reply.get("error") {
        Value::Text(error) => Err(SessionError::Refused(error.clone())),
        _ => Ok(reply),
    }
}

fn resolve_request(ask: Resolve) -> Value {
    map([
        ("command", "resolve".into()),
        ("key", BUILD_KEY.into()),
        ("pluginName", PLUGIN_NAME.into()),
        ("path", ask.path.into()),
        ("kind", ask.kind.into()),
        ("importer", ask.importer.into()),
        ("resolveDir", ask.resolve_dir.into()),
        ("pluginData", ask.plugin_data.into()),
    ])
}

const PLUGIN_NAME: &str = "berth";

fn registration(plugin: &impl Plugin) -> Value {
    let numbered = |(id, filter, namespace): (usize, String, String)| {
        map([
            ("id", u32::try_from(id).unwrap_or(u32::MAX).into()),
            ("filter", filter.into()),
            ("namespace", namespace.into()),
        ])
    };
    let resolve = plugin.resolve_filters().into_iter().enumerate();
    let load = plugin.load_namespaces().into_iter().enumerate();
    map([
        ("name", PLUGIN_NAME.into()),
        ("onStart", false.into()),
        ("onEnd", false.into()),
        (
            "onResolve",
            Value::List(
                resolve
                    .map(|(id, filter)| numbered((id, filter, String::new())))
                    .collect(),
            ),
        ),
        (
            "onLoad",
            Value::List(
                load.map(|(id, name)| numbered((id, ".*".to_owned(), name)))
                    .collect(),
            ),
        ),
    ])
}
