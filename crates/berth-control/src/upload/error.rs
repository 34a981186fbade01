//! Why an upload is refused.

use berth_error::Hint;

/// Why an upload is refused.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// It is not JSON, or not of the right form.
    #[error("the part `metadata` cannot be understood: {0}")]
    Metadata(String),
    /// The main module is not there.
    #[error("there is no module `{0}`, which the metadata call the main module")]
    NoMain(String),
    /// Neither a main module nor assets.
    #[error("the metadata name no main module, and no assets")]
    NothingToRun,
    /// Something that only code has a use for.
    #[error(
        "there are assets and no main module: bindings, Durable Objects, containers and `run_worker_first` need one"
    )]
    OnlyAssets,
    /// A Worker of the old syntax.
    #[error("Workers in service worker syntax are not supported")]
    ServiceWorker,
    /// A module of a kind that is not loaded.
    #[error("the module `{name}` has the type `{kind}`, which is not supported")]
    ModuleKind {
        /// The module.
        name: String,
        /// Its `Content-Type`.
        kind: String,
    },
    /// Two modules of one name.
    #[error("there are two modules `{0}`")]
    Twice(String),
    /// Too much of everything.
    #[error("the modules have {bytes} bytes, {most} are allowed")]
    TooLarge {
        /// Of all modules.
        bytes: u64,
        /// At most.
        most: u64,
    },
    /// A binding that Berth does not have.
    #[error("the binding `{name}` has the type `{kind}`, which is not supported")]
    BindingKind {
        /// The binding.
        name: String,
        /// Its type.
        kind: String,
    },
    /// Two bindings of one name, one without a name, or too many.
    #[error("{0}")]
    Bindings(String),
    /// An inherited binding that was not there before.
    #[error("inherit binding '{0}' is invalid: the version before has no such binding")]
    Inherit(String),
    /// Part of the upload that Berth does not do.
    #[error("`{0}` is not supported")]
    Unsupported(&'static str),
    /// A Worker that cannot be told what this one does.
    #[error("the tail consumer `{0}` {1}")]
    TailConsumer(String, &'static str),
    /// No date, or not one.
    #[error("the compatibility date `{0}` is not of the form YYYY-MM-DD")]
    Date(String),
}

impl Hint for UploadError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::ServiceWorker => {
                Some("write it as a module: `export default { fetch() { … } }`".to_owned())
            }
            Self::BindingKind { name, .. } => {
                Some(format!("take `{name}` out of the configuration"))
            }
            Self::Inherit(name) => Some(format!("set `{name}` in the configuration")),
            _ => None,
        }
    }
}
