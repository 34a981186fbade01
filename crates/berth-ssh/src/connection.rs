//! A client's connection: login, then one session at a time.
//!
//! ```text
//! key or certificate ─▶ session ─▶ terminal, variables ─▶ shell or command ─▶ input, signals, sizes ─▶ end
//! ```
//!
//! Everything else that SSH has (forwarding, agents, X11, subsystems) is refused, most of it because
//! `russh` refuses what nothing is said about.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use russh::keys::Certificate;
use russh::server::{
    Auth, ChannelOpenHandle, Handler, Msg, PublicKeyOffer, Session, VerifiedPublicKey,
};
use russh::{
    Channel, ChannelId, ChannelOpenFailure, ChannelWriteHalf, Disconnect, Error, Pty, Sig,
};
use tokio::sync::watch;

use crate::access::{Access, Allowed};
use crate::input::{Pressure, TRICKLE};
use crate::process::{Client, Running, number};
use crate::wanted::{Wanted, length};
use crate::{Container, WINDOW};

/// How long a slowed client waits after each of its small pieces.
const SLOW: Duration = Duration::from_millis(20);

/// How far a connection is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Progress {
    pub(crate) logged_in: bool,
    /// A process runs, or its end is being told.
    pub(crate) in_session: bool,
}

/// A client.
pub(crate) struct Connection {
    access: Access,
    container: Arc<dyn Container>,
    progress: watch::Sender<Progress>,
    allowed: Option<Allowed>,
    session: Option<(ChannelId, State)>,
}

/// A session.
enum State {
    /// It says what it wants.
    Asking(ChannelWriteHalf<Msg>, Wanted),
    /// Its process.
    Running(Running),
    /// It had none.
    Over,
}

impl Connection {
    pub(crate) fn new(
        access: Access,
        container: Arc<dyn Container>,
        progress: watch::Sender<Progress>,
    ) -> Self {
        Self {
            access,
            container,
            progress,
            allowed: None,
            session: None,
        }
    }

    /// What the session of this channel wants, while it says so.
    fn wanted(&mut self, channel: ChannelId) -> Option<&mut Wanted> {
        match &mut self.session {
            Some((id, State::Asking(_, wanted))) if *id == channel => Some(wanted),
            _ => None,
        }
    }

    fn running(&self, channel: ChannelId) -> Option<&Running> {
        match &self.session {
            Some((id, State::Running(running))) if *id == channel => Some(running),
            _ => None,
        }
    }

    /// Starts what is wanted; a session starts one process.
    async fn start(
        &mut self,
        channel: ChannelId,
        command: Option<&str>,
        session: &mut Session,
    ) -> Result<(), Error> {
        let (write, wanted) = match self.session.take() {
            Some((id, State::Asking(write, wanted))) if id == channel => (write, wanted),
            other => {
                self.session = other;
                return session.channel_failure(channel);
            }
        };
        session.channel_success(channel)?;
        self.progress
            .send_modify(|progress| progress.in_session = true);
        let client = Client {
            channel: write,
            handle: session.handle(),
            progress: self.progress.clone(),
        };
        let spec = wanted.process(command);
        let started = Running::start(Arc::clone(&self.container), spec, client).await;
        let state = started.map_or(State::Over, State::Running);
        self.session = Some((channel, state));
        Ok(())
    }
}

fn answer(allowed: Option<Allowed>) -> Auth {
    allowed.map_or_else(Auth::reject, |_| Auth::Accept)
}

impl Handler for Connection {
    type Error = Error;

    async fn auth_publickey_offered(
        &mut self,
        user: &str,
        offer: PublicKeyOffer<'_>,
    ) -> Result<Auth, Error> {
        let known = self.access.may_know(user, offer.public_key);
        Ok(if known { Auth::Accept } else { Auth::reject() })
    }

    async fn auth_publickey(
        &mut self,
        user: &str,
        key: VerifiedPublicKey<'_>,
    ) -> Result<Auth, Error> {
        self.allowed = self.access.of_key(user, key.public_key);
        Ok(answer(self.allowed))
    }

    async fn auth_openssh_certificate(
        &mut self,
        user: &str,
        certificate: &Certificate,
    ) -> Result<Auth, Error> {
        let now = SystemTime::now();
        self.allowed = self.access.of_certificate(user, certificate, now);
        Ok(answer(self.allowed))
    }

    async fn auth_succeeded(&mut self, _: &mut Session) -> Result<(), Error> {
        self.progress
            .send_modify(|progress| progress.logged_in = true);
        Ok(())
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Error> {
        if self.session.is_some() {
            reply.reject(ChannelOpenFailure::ResourceShortage).await;
            return Ok(());
        }
        // What comes in is taken below: nobody waits for who reads the other half.
        let (_, write) = channel.split();
        self.session = Some((write.id(), State::Asking(write, Wanted::default())));
        reply.accept().await;
        Ok(())
    }

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        term: &str,
        columns: u32,
        rows: u32,
        _: u32,
        _: u32,
        modes: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Error> {
        let allowed = self.allowed.is_some_and(|allowed| allowed.terminal);
        match self.wanted(channel) {
            Some(wanted) if allowed => {
                let modes = modes.iter().map(|(mode, value)| (*mode as u8, *value));
                wanted.terminal(term, (columns, rows), modes.collect());
                session.channel_success(channel)
            }
            _ => session.channel_failure(channel),
        }
    }

    async fn env_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        value: &str,
        session: &mut Session,
    ) -> Result<(), Error> {
        let wanted = self.wanted(channel);
        if wanted.is_some_and(|wanted| wanted.variable(name, value)) {
            session.channel_success(channel)
        } else {
            session.channel_failure(channel)
        }
    }

    async fn shell_request(
        &mut self,
        channel: ChannelId,
        session: &mut Session,
    ) -> Result<(), Error> {
        self.start(channel, None, session).await
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        command: &[u8],
        session: &mut Session,
    ) -> Result<(), Error> {
        match std::str::from_utf8(command) {
            Ok(command) if !command.contains('\0') => {
                self.start(channel, Some(command), session).await
            }
            _ => session.channel_failure(channel),
        }
    }

    async fn subsystem_request(
        &mut self,
        channel: ChannelId,
        _: &str,
        session: &mut Session,
    ) -> Result<(), Error> {
        session.channel_failure(channel)
    }

    async fn x11_request(
        &mut self,
        channel: ChannelId,
        _: bool,
        _: &str,
        _: &str,
        _: u32,
        session: &mut Session,
    ) -> Result<(), Error> {
        session.channel_failure(channel)
    }

    async fn window_change_request(
        &mut self,
        channel: ChannelId,
        columns: u32,
        rows: u32,
        _: u32,
        _: u32,
        _: &mut Session,
    ) -> Result<(), Error> {
        if let Some(running) = self.running(channel) {
            running.resize(length(rows, 24), length(columns, 80));
        }
        Ok(())
    }

    async fn signal(
        &mut self,
        channel: ChannelId,
        signal: Sig,
        _: &mut Session,
    ) -> Result<(), Error> {
        if let (Some(running), Some(number)) = (self.running(channel), number(&signal)) {
            running.signal(number);
        }
        Ok(())
    }

    async fn data(
        &mut self,
        channel: ChannelId,
        data: &[u8],
        session: &mut Session,
    ) -> Result<(), Error> {
        let Some(running) = self.running(channel) else {
            return Ok(());
        };
        match running.input.push(Bytes::copy_from_slice(data)) {
            Pressure::None => {}
            // Only small pieces: large ones come while it has not been told yet.
            Pressure::Full if data.len() <= TRICKLE as usize => tokio::time::sleep(SLOW).await,
            Pressure::Full => {}
            Pressure::Overrun => {
                let text = "more was sent than may be";
                session.disconnect(Disconnect::ProtocolError, text, "")?;
            }
        }
        Ok(())
    }

    fn adjust_window(&mut self, channel: ChannelId, _: u32) -> u32 {
        let running = self.running(channel);
        match running.map(|running| running.input.pressure()) {
            Some(Pressure::Full) => TRICKLE,
            _ => WINDOW,
        }
    }

    async fn channel_eof(&mut self, channel: ChannelId, _: &mut Session) -> Result<(), Error> {
        if let Some(running) = self.running(channel) {
            running.input.end();
        }
        Ok(())
    }

    async fn channel_close(&mut self, channel: ChannelId, _: &mut Session) -> Result<(), Error> {
        if self.session.as_ref().is_some_and(|(id, _)| *id == channel) {
            self.session = None;
        }
        Ok(())
    }
}
