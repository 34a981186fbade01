//! What can happen in a dev session, as it is shown or, with `--json`, written one object a line.

use serde::Serialize;

/// One thing worth showing. The JSON form is an interface for tools: fields are only added.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum DevEvent {
    /// Set-up goes on.
    Progress {
        /// What is being done.
        message: String,
    },
    /// Something about a container image's build.
    Build {
        /// Name of the container application.
        container: String,
        /// The step's text, or a line of its output.
        message: String,
        /// It is output of a `RUN`, not a step.
        output: bool,
    },
    /// The session answers requests.
    Ready {
        /// Where.
        url: String,
        /// The Docker API socket of the session.
        control: String,
        /// Id of the session.
        session: String,
        /// Milliseconds since the command began.
        elapsed_ms: u64,
        /// What the Worker has in `env`.
        bindings: Vec<Binding>,
    },
    /// `berth engine` serves the Docker API.
    EngineReady {
        /// What `DOCKER_HOST` must be.
        docker_host: String,
        /// What `WRANGLER_DOCKER_BIN` must be.
        docker_bin: String,
        /// Id of the session.
        session: String,
        /// Milliseconds since the command began.
        elapsed_ms: u64,
    },
    /// The Worker runs with its new source or configuration.
    Reloaded {
        /// Milliseconds it took.
        elapsed_ms: u64,
    },
    /// Images were rebuilt and the containers stopped, to start anew with the next request.
    Rebuilt {
        /// Containers that were stopped.
        stopped: usize,
    },
    /// The Worker or a container wrote a line.
    Log {
        /// `worker`, or a container's display name.
        source: String,
        /// `stdout` or `stderr`.
        stream: &'static str,
        /// The line.
        message: String,
    },
    /// Something happened to a container.
    Container {
        /// `started`, `exited`, `failed`, `asleep`, `awake` or `removed`.
        action: &'static str,
        /// Display name.
        name: String,
        /// How it exited.
        #[serde(skip_serializing_if = "Option::is_none")]
        exit_code: Option<i32>,
        /// Why it failed, or that the kernel killed it for memory.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// A request was answered.
    Request {
        /// Method.
        method: String,
        /// Path and query.
        path: String,
        /// Status code.
        status: u16,
        /// Milliseconds until the response began.
        duration_ms: f64,
    },
    /// Something the user should mend, while the session goes on.
    Warning {
        /// Text, possibly of several lines, possibly coloured.
        message: String,
    },
    /// Something failed, while the session goes on.
    Error {
        /// Text, possibly of several lines, possibly coloured.
        message: String,
    },
    /// The session ends.
    Leaving,
}

/// One row of the table of bindings.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Binding {
    /// Name in `env`; for things that are not in `env`, what stands for it.
    pub(crate) name: String,
    /// What it is.
    pub(crate) kind: &'static str,
    /// What it leads to.
    pub(crate) target: String,
}
