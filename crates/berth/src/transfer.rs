//! Pulls and pushes as people and programs see them: bars that are redrawn in place on a terminal,
//! lines elsewhere, JSON events for programs.

use std::io::IsTerminal as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use berth_distribution::{
    Client, DistributionError, Platform, Progress, PullOptions, Pulled, PushOptions, Pushed,
};
use berth_error::{Report, ResultExt as _};
use berth_image::{Image, ImageStore, LayerCompression, Reference};

use crate::signals::Signals;
use crate::{base, printer};

mod lines;
mod screen;
pub(crate) mod units;

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Redrawn in place, on standard error.
    Screen,
    /// Lines, on standard error.
    Plain,
    /// One object per line, on standard output.
    Json,
    /// Not at all.
    Quiet,
}

impl Mode {
    /// What fits the flags and the terminal.
    pub(crate) fn of(json: bool, quiet: bool) -> Self {
        match (json, quiet) {
            (true, _) => Self::Json,
            (_, true) => Self::Quiet,
            _ if std::io::stderr().is_terminal() => Self::Screen,
            _ => Self::Plain,
        }
    }
}

/// Why an image was not pulled.
pub(crate) enum Failure {
    /// Its registry cannot be reached at all, so nothing is known about it.
    Unreachable(Report),
    /// Anything else.
    Other(Report),
}

impl From<DistributionError> for Failure {
    fn from(error: DistributionError) -> Self {
        if error.is_unreachable() {
            Self::Unreachable(error.into())
        } else {
            Self::Other(error.into())
        }
    }
}

impl From<Report> for Failure {
    fn from(report: Report) -> Self {
        Self::Other(report)
    }
}

impl From<Failure> for Report {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Unreachable(report) | Failure::Other(report) => report,
        }
    }
}

/// Shows one pull or push.
struct View {
    mode: Mode,
    screen: Mutex<screen::Screen>,
}

impl View {
    fn new(mode: Mode) -> Self {
        Self {
            mode,
            screen: Mutex::new(screen::Screen::default()),
        }
    }

    fn show(&self, event: &Progress) {
        match self.mode {
            Mode::Quiet => {}
            Mode::Json => match serde_json::to_string(event) {
                Ok(line) => printer::line(line),
                Err(error) => tracing::warn!(%error, "an event was not written"),
            },
            Mode::Plain => {
                if let Some(line) = lines::line(event) {
                    printer::note(line);
                }
            }
            Mode::Screen => printer::text(&self.screen().event(event)),
        }
    }

    /// Draws what was held back.
    fn end(&self) {
        if self.mode == Mode::Screen {
            printer::text(&self.screen().end());
        }
    }

    fn screen(&self) -> std::sync::MutexGuard<'_, screen::Screen> {
        self.screen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The client of `berth images pull`, `docker push` and their like. `None` as a result of the
/// functions here: a signal ended it.
pub(crate) struct Transfer<'a> {
    pub(crate) client: Client,
    pub(crate) store: &'a ImageStore,
    pub(crate) mode: Mode,
}

impl<'a> Transfer<'a> {
    pub(crate) fn new(data: &Path, store: &'a ImageStore, mode: Mode) -> Result<Self, Report> {
        Ok(Self {
            client: base::client(data)?,
            store,
            mode,
        })
    }

    /// The same with Docker's `config.json` of another directory, if there is one.
    pub(crate) fn with_docker_config(mut self, directory: Option<&Path>) -> Result<Self, Report> {
        if directory.is_some() {
            self.client = Client::open(self.store.root(), directory)?;
        }
        Ok(self)
    }

    /// Pulls an image for a platform, or this machine's.
    pub(crate) async fn pull(
        &self,
        reference: &Reference,
        platform: Option<&str>,
    ) -> Result<Option<Pulled>, Failure> {
        let platform = match platform {
            Some(platform) => platform.parse::<Platform>().map_err(Report::from)?,
            None => Platform::host(),
        };
        let view = View::new(self.mode);
        let sink = |event| view.show(&event);
        let options = PullOptions { platform };
        let work = self.client.pull(self.store, reference, &options, &sink);
        let outcome = until_signal(work).await;
        view.end();
        Ok(outcome?.transpose()?)
    }

    /// Pushes an image under a name.
    pub(crate) async fn push(
        &self,
        image: &Image,
        reference: &Reference,
        options: &PushOptions,
    ) -> Result<Option<Pushed>, Report> {
        let view = View::new(self.mode);
        let sink = |event| view.show(&event);
        let work = self
            .client
            .push(self.store, image, reference, options, &sink);
        let outcome = until_signal(work).await;
        view.end();
        Ok(outcome?.transpose()?)
    }

    /// Pushes an image of the store, and says what became of it.
    pub(crate) async fn push_named(
        &self,
        name: &str,
        compression: Option<LayerCompression>,
    ) -> Result<ExitCode, Report> {
        let reference: Reference = name.parse()?;
        let image = self.store.resolve(name)?.ok_or_else(|| {
            Report::new(
                format!("there is no image `{name}` on this machine"),
                Some("`berth images list` shows what there is".to_owned()),
            )
        })?;
        let options = PushOptions { compression };
        let Some(pushed) = self.push(&image, &reference, &options).await? else {
            return Ok(ExitCode::from(130));
        };
        match self.mode {
            Mode::Json => print_json(&serde_json::json!({
                "event": "pushed",
                "reference": reference.to_string(),
                "digest": pushed.digest,
                "size": pushed.size,
                "sent": pushed.sent,
            }))?,
            Mode::Quiet => printer::line(reference.to_string()),
            Mode::Screen | Mode::Plain => printer::line(format!(
                "{}: digest: {} size: {}",
                reference.tag(),
                pushed.digest,
                pushed.size
            )),
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Prints one object on a line.
pub(crate) fn print_json(value: &serde_json::Value) -> Result<(), Report> {
    printer::line(serde_json::to_string(value).context("could not write JSON")?);
    Ok(())
}

/// Work that a signal gives up. What is dropped half-way leaves finished layers only.
async fn until_signal<T>(work: impl Future<Output = T>) -> Result<Option<T>, Report> {
    let mut signals = Signals::listen()?;
    Ok(tokio::select! {
        outcome = work => Some(outcome),
        () = signals.next() => None,
    })
}

/// The name under which an image is pushed: one without a registry goes to the default one, which
/// wrangler's variable or `registries.json` names.
pub(crate) fn destination(client: &Client, name: &str) -> Result<String, Report> {
    if names_registry(name) {
        return Ok(name.to_owned());
    }
    let variable = std::env::var("CLOUDFLARE_CONTAINER_REGISTRY").ok();
    let default = variable
        .filter(|host| !host.is_empty())
        .or_else(|| client.registries().default.clone());
    match default {
        Some(default) => Ok(format!("{default}/{name}")),
        None => Err(Report::new(
            format!("`{name}` does not say which registry it goes to"),
            Some(format!(
                "name it (`docker.io/<user>/{name}`, `registry.example.com/{name}`), or set \
                 `\"default\"` in `registries.json`"
            )),
        )),
    }
}

/// Whether the first part of a name is a host, by the grammar of references.
fn names_registry(name: &str) -> bool {
    name.split_once('/')
        .is_some_and(|(first, _)| first == "localhost" || first.contains(['.', ':']))
}

#[cfg(test)]
mod tests {
    use super::names_registry;

    #[test]
    fn a_registry_is_named_by_a_host() {
        assert!(names_registry("docker.io/me/app:1"));
        assert!(names_registry("localhost/app"));
        assert!(names_registry("host:5000/app"));
        assert!(!names_registry("app:1"));
        assert!(!names_registry("me/app:1"));
    }
}
