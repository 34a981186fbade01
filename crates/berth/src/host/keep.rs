//! Sessions whose containers outlive their server: beginning one, and taking over that of the server before.
//!
//! Whoever calls this has the data directory to itself (the lock of `berth serve`), so that the process that a
//! kept session belonged to has ended, or is just ending.

use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use berth_engine::{Session, SessionRecord};
use berth_error::{Report, ResultExt as _, chain};
use berth_jail::{JailError, OnDisconnect, Survivors, Zygote, ZygoteConfig};
use tokio::time::Instant;

/// Name of a deposit: the session's lock.
const LOCK: &str = "session";

/// How long the process before may take to let go of its zygote once its locks are free.
const LETTING_GO: Duration = Duration::from_secs(10);
/// Between two tries: nothing tells.
const TRY_AGAIN: Duration = Duration::from_millis(20);

/// A session whose containers outlive this process.
pub(super) struct KeptSession {
    pub(super) session: Session,
    pub(super) zygote: Zygote,
    /// What the process before has left.
    pub(super) survivors: Option<Survivors>,
    /// What there is to be said of containers that were ended.
    pub(super) notes: Vec<String>,
}

/// Takes the session of the process before over, or begins one. Containers wait for the process after this one
/// for `patience`.
pub(super) async fn session(
    sessions: &Path,
    project: &Path,
    patience: Duration,
) -> Result<KeptSession, Report> {
    let (mut taken, mut notes) = (None, Vec::new());
    for record in berth_engine::kept_sessions(sessions)? {
        let config = config(
            record.cgroup.clone(),
            record.zygote_socket(sessions),
            patience,
        );
        let reason = match attach(&config).await {
            Ok(Some((zygote, survivors))) if taken.is_none() => {
                match take_over(sessions, record.clone(), zygote, survivors).await {
                    Ok(found) => {
                        taken = Some(found);
                        continue;
                    }
                    Err(report) => report.chain().join(": "),
                }
            }
            Ok(Some(_)) => "another session has been taken over".to_owned(),
            Ok(None) => {
                // It has ended, with all that it had, or is just ending.
                end(&config, &record).await;
                continue;
            }
            Err(error) => chain(&error),
        };
        let note = format!("the containers of the server before have been ended: {reason}");
        tracing::warn!(session = record.id, "{note}");
        notes.push(note);
        end(&config, &record).await;
    }
    for dead in berth_engine::sweep(sessions)? {
        tracing::info!(session = dead, "cleaned up after a session that was killed");
    }
    if let Some((session, zygote, survivors)) = taken {
        let survivors = Some(survivors);
        return Ok(KeptSession {
            session,
            zygote,
            survivors,
            notes,
        });
    }
    let session = Session::create_kept(sessions, project)?;
    let config = config(session.cgroup.clone(), session.zygote_socket(), patience);
    let zygote = Zygote::launch(config).await?;
    leave_lock(&zygote, &session).await?;
    Ok(KeptSession {
        session,
        zygote,
        survivors: None,
        notes,
    })
}

fn config(cgroup: String, socket: PathBuf, patience: Duration) -> ZygoteConfig {
    ZygoteConfig {
        executable: PathBuf::from("/proc/self/exe"),
        cgroup,
        on_disconnect: OnDisconnect::Keep { socket, patience },
    }
}

async fn attach(config: &ZygoteConfig) -> Result<Option<(Zygote, Survivors)>, JailError> {
    let deadline = Instant::now() + LETTING_GO;
    loop {
        match Zygote::attach(config).await {
            Err(JailError::ZygoteBusy) if Instant::now() < deadline => {
                tokio::time::sleep(TRY_AGAIN).await;
            }
            outcome => return outcome,
        }
    }
}

async fn take_over(
    sessions: &Path,
    record: SessionRecord,
    zygote: Zygote,
    mut survivors: Survivors,
) -> Result<(Session, Zygote, Survivors), Report> {
    let lock = survivors.deposits.remove(LOCK);
    let lock = lock.and_then(|fds| fds.into_iter().next());
    let lock = lock.ok_or_else(|| {
        Report::new(
            "the helper process does not have its session's lock".to_owned(),
            None,
        )
    })?;
    // Workers of the process before, should they not have ended with it.
    zygote.sweep_helpers().await?;
    let session = Session::adopt(sessions, record, lock)?;
    leave_lock(&zygote, &session).await?;
    Ok((session, zygote, survivors))
}

/// With that nobody sweeps the session while its containers wait.
async fn leave_lock(zygote: &Zygote, session: &Session) -> Result<(), Report> {
    let lock = session.lock_descriptor();
    let lock = lock.context("could not copy the session's lock")?;
    Ok(zygote.deposit(LOCK, &[lock.as_fd()]).await?)
}

/// Ends whatever is left of a session; what that leaves is swept.
async fn end(config: &ZygoteConfig, record: &SessionRecord) {
    if let Err(error) = Zygote::end_other(config).await {
        tracing::debug!(error = chain(&error), "it is ended by force");
    }
    let cgroup = record.cgroup.clone();
    let swept = tokio::task::spawn_blocking(move || berth_jail::sweep_session(&cgroup)).await;
    if let Ok(Err(error)) = swept {
        tracing::warn!(error = chain(&error), "something of it is left");
    }
}
