//! Which settings a server has: the file's, and over them the command line's.

use std::path::{Path, PathBuf};

use berth_config::{SERVER_CONFIG_NAME, ServerConfig};
use berth_error::Report;

use crate::cli::ServeArgs;
use crate::paths::Paths;

/// Where the machine's administrator keeps settings.
const SYSTEM: &str = "/etc/berth";

/// The settings, and the directories that follow from them.
pub(crate) fn settings(args: &ServeArgs, paths: &Paths) -> Result<(ServerConfig, Paths), Report> {
    let file = args.config.clone().or_else(|| usual(&paths.data));
    let mut config = match &file {
        Some(file) => {
            tracing::debug!(file = %file.display(), "settings");
            ServerConfig::load(file).map_err(|errors| Report::verbatim(errors.render()))?
        }
        None => ServerConfig::default(),
    };
    overrule(&mut config, args);
    let mut paths = paths.clone();
    if let Some(data) = &config.data_dir
        && !paths.data_is_given
    {
        paths.data.clone_from(data);
    }
    check_exposure(&config)?;
    Ok((config, paths))
}

/// The first that is there.
fn usual(data: &Path) -> Option<PathBuf> {
    let mut files = [Path::new(SYSTEM), data]
        .into_iter()
        .map(|directory| directory.join(SERVER_CONFIG_NAME));
    files.find(|file| file.exists())
}

fn overrule(config: &mut ServerConfig, args: &ServeArgs) {
    let listen = &mut config.listen;
    if !args.listen.is_empty() {
        listen.http.clone_from(&args.listen);
    }
    listen.api = args.api.unwrap_or(listen.api);
    listen.registry = args.registry.unwrap_or(listen.registry);
    listen.s3 = args.s3.or(listen.s3);
    listen.insecure |= args.insecure;
    if let Some(domain) = &args.base_domain {
        config.base_domain = domain.to_ascii_lowercase();
    }
    if args.store_limit.images_max_size.is_some() {
        config.images.max_size = args.store_limit.images_max_size;
    }
    if let Ok(location) = std::env::var("BERTH_LOCATION") {
        config.location = location;
    }
}

/// Tokens in plain text stay on this machine, unless somebody insists.
fn check_exposure(config: &ServerConfig) -> Result<(), Report> {
    let listen = &config.listen;
    let mut open = vec![Some(listen.registry)];
    // With a certificate these serve clients from elsewhere with TLS only.
    if !config.has_certificates() {
        open.extend([Some(listen.api), listen.s3, listen.metrics]);
    }
    let open = open
        .into_iter()
        .flatten()
        .find(|one| !one.ip().is_loopback());
    let Some(open) = open.filter(|_| !listen.insecure) else {
        return Ok(());
    };
    Err(Report::new(
        format!("{open} can be reached from other machines without TLS"),
        Some(
            "let it listen on 127.0.0.1, give the server a certificate (`[tls]` or `[acme]`; not for the \
             registry), or give `--insecure` if something in front of it has TLS"
                .to_owned(),
        ),
    ))
}
