//! Why a change was refused.

use berth_error::Hint;
use berth_store::{SealError, StoreError};

use crate::assets::AssetsError;
use crate::containers::ApplicationError;
use crate::control::resources::Kind;
use crate::migrations::MigrationError;
use crate::upload::UploadError;

/// Why a change was refused, or could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// There is no such Worker.
    #[error("there is no Worker `{0}`")]
    NoWorker(String),
    /// There is no such version of it.
    #[error("the Worker `{worker}` has no version `{version}`")]
    NoVersion {
        /// The Worker.
        worker: String,
        /// What was asked for.
        version: String,
    },
    /// The Worker has no version at all.
    #[error("nothing of the Worker `{0}` is deployed")]
    NothingDeployed(String),
    /// A name that no Worker may have.
    #[error(
        "`{0}` cannot be the name of a Worker: letters, digits, `_` and `-`, at most 63, and not `-` first or last"
    )]
    BadName(String),
    /// No secret of this name.
    #[error("the Worker `{worker}` has no secret `{secret}`")]
    NoSecret {
        /// The Worker.
        worker: String,
        /// What was asked for.
        secret: String,
    },
    /// A name that is taken by another kind of binding.
    #[error("`{name}` is a binding of the Worker already, of type `{kind}`")]
    BindingTaken {
        /// The binding's name.
        name: String,
        /// Its type.
        kind: String,
    },
    /// A version from before some secrets were changed.
    #[error("the secrets {} have been changed since that version", .0.join(", "))]
    SecretsChanged(Vec<String>),
    /// A secret would be set on something else than what runs.
    #[error("the latest version of the Worker `{0}` is not deployed")]
    NotLive(String),
    /// A version that waits for its containers is not there, or another one.
    #[error("no version of the Worker `{0}` waits for its containers any more")]
    NotWaiting(String),
    /// When a Worker is never woken.
    #[error("`{expression}` is not a cron expression: {reason}")]
    Cron {
        /// What was sent.
        expression: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Traffic can be given only to one version here.
    #[error("a deployment must give 100 % to one version: {0}")]
    Split(String),
    /// There is no such token.
    #[error("there is no token `{0}`")]
    NoToken(String),
    /// A token that would never work.
    #[error("the expiry `{0}` is not a point in the future, as 2030-01-31T12:00:00Z is")]
    Expiry(String),
    /// There is no such container application.
    #[error("there is no container application `{0}`")]
    NoApplication(String),
    /// The application has no such rollout.
    #[error("there is no rollout `{0}`")]
    NoRollout(String),
    /// A container application that cannot be.
    #[error(transparent)]
    Application(#[from] ApplicationError),
    /// There is no such KV namespace, database, queue and so on.
    #[error("there is no {kind} `{name}`")]
    NoResource {
        /// What it would be.
        kind: Kind,
        /// What was asked for.
        name: String,
    },
    /// A name that is taken.
    #[error("there is a {kind} `{name}` already")]
    ResourceTaken {
        /// What it is.
        kind: Kind,
        /// Its name.
        name: String,
    },
    /// Something that a Worker needs is to be deleted.
    #[error("the {kind} `{name}` is used by {user}")]
    ResourceUsed {
        /// What it is.
        kind: Kind,
        /// Its name.
        name: String,
        /// By what.
        user: String,
    },
    /// A property that cannot be.
    #[error("`{field}` {problem}")]
    Resource {
        /// As the API calls it.
        field: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// A binding leads nowhere.
    #[error("the binding `{binding}`: {problem}")]
    BindingTarget {
        /// Its name.
        binding: String,
        /// What is not there.
        problem: String,
    },
    /// A tail consumer that is not there.
    #[error("the tail Worker `{0}` does not exist")]
    NoTailWorker(String),
    /// A Worker that others name as their tail consumer is to be deleted.
    #[error("the Worker `{worker}` is the tail consumer of {}", .producers.join(", "))]
    TailsOthers {
        /// It.
        worker: String,
        /// The others.
        producers: Vec<String>,
    },
    /// Its static assets.
    #[error(transparent)]
    Assets(#[from] AssetsError),
    /// What was uploaded is no Worker.
    #[error(transparent)]
    Upload(#[from] UploadError),
    /// Its Durable Objects cannot be migrated like that.
    #[error(transparent)]
    Migration(#[from] MigrationError),
    /// An R2 bucket that is not there, or fails.
    #[error(transparent)]
    R2(#[from] berth_r2::R2Error),
    /// There is no such key.
    #[error("there is no R2 access key `{0}`")]
    NoAccessKey(String),
    /// A route that none can be.
    #[error(transparent)]
    Route(#[from] berth_config::RoutePatternError),
    /// A route of another Worker.
    #[error("the route `{pattern}` is the Worker `{worker}`'s")]
    RouteTaken {
        /// The pattern.
        pattern: String,
        /// Whose it is.
        worker: String,
    },
    /// A domain of another Worker.
    #[error("the domain `{hostname}` is the Worker `{worker}`'s")]
    DomainTaken {
        /// The host.
        hostname: String,
        /// Whose it is.
        worker: String,
    },
    /// No host's name.
    #[error("`{0}` cannot be a custom domain: it is no host name")]
    BadDomain(String),
    /// Records fail.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Secrets cannot be sealed or opened.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// A file of a module.
    #[error("could not {action} `{path}`")]
    File {
        /// `read`, `write`.
        action: &'static str,
        /// With what.
        path: std::path::PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The kernel gives none.
    #[error("this machine gives no random numbers: {0}")]
    NoRandom(String),
}

impl Hint for ControlError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::NoWorker(_) | Self::NothingDeployed(_) => Some("deploy it first".to_owned()),
            Self::ResourceUsed { .. } => {
                Some("take it out of the configuration there and deploy that first".to_owned())
            }
            Self::NoTailWorker(_) => {
                Some("check the name in `tail_consumers`, or deploy it first".to_owned())
            }
            Self::TailsOthers { .. } => Some(
                "take it out of `tail_consumers` there and deploy that first, or delete it with `force`"
                    .to_owned(),
            ),
            Self::NotWaiting(_) => {
                Some("somebody else has deployed meanwhile: deploy again".to_owned())
            }
            Self::Route(error) => error.hint(),
            Self::RouteTaken { worker, .. } | Self::DomainTaken { worker, .. } => Some(format!(
                "take it out of the configuration of `{worker}` and deploy that first"
            )),
            Self::BadDomain(_) => Some(
                "write a name like `app.example.com`, without `*`, path and port, or use a route"
                    .to_owned(),
            ),
            Self::Upload(error) => error.hint(),
            Self::Migration(error) => error.hint(),
            Self::R2(error) => error.hint(),
            Self::Store(error) => error.hint(),
            Self::Seal(error) => error.hint(),
            _ => None,
        }
    }
}
