//! `berth images pull` and `push`.

use berth_image::LayerCompression;
use clap::Args;

/// `berth images pull`.
#[derive(Debug, Args)]
pub(crate) struct PullArgs {
    /// The image: `node:22-slim`, `registry.example.com/app:1.0`, `name@sha256:…`
    #[arg(value_name = "REF")]
    pub(crate) reference: String,
    /// Whose image of several is taken [default: this machine's]
    #[arg(long, value_name = "OS/ARCH")]
    pub(crate) platform: Option<String>,
    /// Print nothing but the name
    #[arg(short, long, conflicts_with = "json")]
    pub(crate) quiet: bool,
    /// Print one JSON object per line
    #[arg(long)]
    pub(crate) json: bool,
}

/// `berth images push`.
#[derive(Debug, Args)]
pub(crate) struct PushArgs {
    /// The image: its name says which registry it goes to
    #[arg(value_name = "REF")]
    pub(crate) reference: String,
    /// How layers that were made on this machine are compressed, `gzip` or `zstd` (Docker reads zstd
    /// since version 23) [default: gzip, or as `registries.json` says of the registry]
    #[arg(long, value_name = "KIND")]
    pub(crate) compression: Option<LayerCompression>,
    /// Print nothing but the name
    #[arg(short, long, conflicts_with = "json")]
    pub(crate) quiet: bool,
    /// Print one JSON object per line
    #[arg(long)]
    pub(crate) json: bool,
}
