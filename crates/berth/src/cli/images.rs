//! `berth images …` as it is typed.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::{PullArgs, PushArgs};
use crate::commands::registry::values;

#[derive(Debug, Subcommand)]
pub(crate) enum ImagesCommand {
    /// Show the images on this machine
    #[command(visible_alias = "ls")]
    List(ImagesListArgs),
    /// Bring in a root file system tar, an OCI layout or a `docker save` tar
    Import {
        /// The tar file or OCI layout directory; `-` reads a root file system tar from standard input
        path: PathBuf,
        /// Name for the image; required for a root file system tar
        name: Option<String>,
        /// Print a JSON array
        #[arg(long)]
        json: bool,
    },
    /// Bring in an image from a registry
    Pull(PullArgs),
    /// Send an image to a registry
    Push(PushArgs),
    /// Make a base image from package registries by name, as `berth dev` does when one is missing
    Make {
        /// Such as `debian:bookworm-slim`, `node:22-slim` or `python:3.11-slim`
        name: String,
    },
    /// Show all that is known of images
    Inspect(ImagesInspectArgs),
    /// Give an image another name
    Tag {
        /// Name, id or digest
        source: String,
        /// The new name, which another image loses if it had it
        target: String,
        /// Print a JSON object
        #[arg(long)]
        json: bool,
    },
    /// Remove names, or by their ids images with all their names
    #[command(visible_aliases = ["remove", "rm"])]
    Delete(ImagesDeleteArgs),
    /// Remove what nothing needs: images without a name, and what is left of removed ones
    Prune(ImagesPruneArgs),
    /// Show how much room images and build caches take
    Df {
        /// Print a JSON object, with every image
        #[arg(long)]
        json: bool,
    },
}

/// `berth images list`.
#[derive(Debug, Args)]
pub(crate) struct ImagesListArgs {
    /// Only names that match this regular expression
    #[arg(long, value_name = "REGEX", value_parser = regex::Regex::new)]
    pub(crate) filter: Option<regex::Regex>,
    /// Print a JSON array
    #[arg(long)]
    pub(crate) json: bool,
}

/// `berth images inspect`.
#[derive(Debug, Args)]
pub(crate) struct ImagesInspectArgs {
    /// Names, ids or digests
    #[arg(required = true, value_name = "IMAGE")]
    pub(crate) images: Vec<String>,
    /// A JSON array is printed with and without this
    #[arg(long)]
    pub(crate) json: bool,
}

/// `berth images delete`.
#[derive(Debug, Args)]
pub(crate) struct ImagesDeleteArgs {
    /// Names, ids or digests
    #[arg(required = true, value_name = "IMAGE")]
    pub(crate) images: Vec<String>,
    /// Also images that a container or a kept version needs, without asking
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Print a JSON array
    #[arg(long)]
    pub(crate) json: bool,
}

/// `berth images prune`.
#[derive(Debug, Args)]
pub(crate) struct ImagesPruneArgs {
    /// Also images with a name that nothing uses, and build caches
    #[arg(short, long)]
    pub(crate) all: bool,
    /// `until=<DURATION>`: only what was not used for this long, such as `until=24h`
    #[arg(long, value_name = "FILTER", value_parser = until)]
    pub(crate) filter: Option<Duration>,
    /// Also images with a name that nothing uses, and build caches, the longest unused first, until
    /// the store is not larger than this, such as `20GB`
    #[arg(long, value_name = "SIZE", value_parser = values::size)]
    pub(crate) max_size: Option<u64>,
    /// Only show what would be removed
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Print a JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// What long-running commands do about the store's size.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct StoreLimitArgs {
    /// Keep images and build caches below this size, such as `20GB`: what is longest unused goes
    /// first, what is in use stays [default: no limit]
    #[arg(long, env = "BERTH_IMAGES_MAX_SIZE", value_name = "SIZE", value_parser = values::size)]
    pub(crate) images_max_size: Option<u64>,
}

fn until(text: &str) -> Result<Duration, String> {
    match text.split_once('=') {
        Some(("until", duration)) => values::duration(duration),
        _ => Err("the only filter is `until=<DURATION>`, such as `until=24h`".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_an_age() {
        assert_eq!(until("until=24h"), Ok(Duration::from_secs(24 * 3600)));
        for bad in ["until", "until=", "24h", "label=x"] {
            assert!(until(bad).is_err(), "{bad}");
        }
    }
}
