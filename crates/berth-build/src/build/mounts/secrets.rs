//! `RUN --mount=type=secret` and `type=ssh`: what a step knows for the time of its command.

use berth_jail::{ExtraFile, Mount, MountSource};

use super::super::{At, Builder, agent};
use super::{Guard, Ready};
use crate::Secret;
use crate::dockerfile::mount::{RunMount, RunMountKind};
use crate::error::{BuildError, Problem, StepError};
use crate::run::PlannedMount;

/// Largest secret, as in BuildKit.
const MAX_SECRET: usize = 500 * 1024;

impl Builder<'_> {
    pub(super) fn secret(
        &self,
        mount: &RunMount,
        ready: &mut Ready,
        at: At<'_>,
    ) -> Result<(), BuildError> {
        let RunMountKind::Secret {
            id,
            env,
            required,
            owner,
        } = &mount.kind
        else {
            return Ok(());
        };
        let content = match self.request.secrets.get(id) {
            Some(Secret::Value(value)) => value.clone(),
            Some(Secret::File(path)) => fs_err::read(path).map_err(|error| {
                let action = format!("the secret `{id}` cannot be read");
                at.place.failed(&action)(StepError::Io(error))
            })?,
            None if *required => {
                let problem = Problem::new(format!("the secret `{id}` is required"));
                let hint = format!(
                    "give it with `--secret id={id},src=FILE` or `--secret id={id},env=NAME`"
                );
                return Err(at.place.problem(problem.hint(hint)));
            }
            None => return Ok(()),
        };
        if content.len() > MAX_SECRET {
            let problem = format!("the secret `{id}` has more than {MAX_SECRET} bytes");
            return Err(at.place.problem(Problem::new(problem)));
        }
        if let Some(name) = env {
            let value = String::from_utf8(content.clone()).ok();
            let value = value.filter(|value| !value.contains('\0')).ok_or_else(|| {
                let problem = Problem::new(format!("the secret `{id}` is no text"));
                at.place
                    .problem(problem.hint("mount it as a file: leave out `env`"))
            })?;
            ready.env.push(format!("{name}={value}"));
        }
        if !mount.target.is_empty() {
            ready.files.push(ExtraFile {
                path: mount.target.clone(),
                content,
                uid: owner.uid.unwrap_or(0),
                gid: owner.gid.unwrap_or(0),
                mode: owner.mode.unwrap_or(0o400),
            });
        }
        Ok(())
    }

    pub(super) fn ssh(
        &self,
        mount: &RunMount,
        ready: &mut Ready,
        at: At<'_>,
    ) -> Result<(), BuildError> {
        let RunMountKind::Ssh {
            id,
            required,
            owner,
        } = &mount.kind
        else {
            return Ok(());
        };
        let socket = match self.request.ssh.get(id).map(Vec::as_slice) {
            Some([socket, ..]) => socket.clone(),
            _ if *required => {
                let problem = Problem::new(format!("an ssh agent `{id}` is required"));
                let hint = format!("forward yours with `--ssh {id}`, or `--ssh {id}=SOCKET`");
                return Err(at.place.problem(problem.hint(hint)));
            }
            _ => return Ok(()),
        };
        let failed =
            |error| at.place.failed("the ssh agent cannot be forwarded")(StepError::Io(error));
        let agent = agent::Agent::forward(self.store, socket, *owner).map_err(failed)?;
        let number = ready
            .guards
            .iter()
            .filter(|guard| matches!(guard, Guard::Agent { .. }))
            .count();
        let target = match mount.target.as_str() {
            "" => format!("/run/buildkit/ssh_agent.{number}"),
            target => target.to_owned(),
        };
        if number == 0 {
            ready.env.push(format!("SSH_AUTH_SOCK={target}"));
        }
        ready.mounts.push(PlannedMount {
            mount: Mount {
                target,
                source: MountSource::Bind(agent.socket()),
                read_only: false,
            },
            is_directory: false,
        });
        ready.guards.push(Guard::Agent { _agent: agent });
        Ok(())
    }
}
