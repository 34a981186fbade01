//! What a Worker's configuration takes from other records than its own: queues that it consumes, Workers
//! that call it or that it calls, secrets of stores.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use berth_control::resources::{Sealed, StoreSecret};
use berth_control::worker::{BindingKind, Worker};
use berth_control::{Control, ControlError};
use berth_workerd::{Entrypoint, ServerSide};

use super::peers;

/// All that there is for one Worker. Equal links give equal configurations.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Links {
    consumes: bool,
    entrypoints: BTreeSet<Entrypoint>,
    peers: BTreeMap<String, PathBuf>,
    /// By binding.
    secrets: BTreeMap<String, Option<(String, Sealed)>>,
}

/// What the links of all Workers are made of, as it is recorded now.
pub(super) struct Records {
    workers: Vec<Worker>,
    consumers: BTreeSet<String>,
    secrets: Vec<StoreSecret>,
    session: PathBuf,
}

/// A binding of a Worker to another one.
pub(super) struct Call<'a> {
    pub(super) binding: &'a str,
    pub(super) callee: &'a Worker,
    pub(super) entrypoint: Entrypoint,
}

impl Records {
    pub(super) fn read(
        control: &Control,
        workers: Vec<Worker>,
        session: &Path,
    ) -> Result<Self, ControlError> {
        let queues = control.queues()?.into_iter();
        let consumers = queues.flat_map(|queue| queue.consumers);
        let mut secrets = Vec::new();
        for store in control.secret_stores()? {
            secrets.extend(control.store_secrets(&store.id)?);
        }
        Ok(Self {
            workers,
            consumers: consumers.map(|consumer| consumer.script_name).collect(),
            secrets,
            session: session.to_owned(),
        })
    }

    /// The links of a Worker, which need not be recorded like that.
    pub(super) fn of(&self, worker: &Worker) -> Links {
        let mut links = Links {
            consumes: self.consumers.contains(&worker.name),
            ..Links::default()
        };
        for caller in self.workers.iter().filter(|caller| caller.id != worker.id) {
            let calls = self.calls(caller).into_iter();
            let calls = calls.filter(|call| call.callee.id == worker.id);
            links.entrypoints.extend(calls.map(|call| call.entrypoint));
        }
        for call in self.calls(worker) {
            let socket = peers::socket(&self.session, &call.callee.id, &call.entrypoint);
            links.peers.insert(call.binding.to_owned(), socket);
        }
        if self.consumes_tails(worker) && has_code(worker) {
            links.entrypoints.insert(Entrypoint::tail());
        }
        for binding in worker.live().into_iter().flat_map(|live| &live.bindings) {
            match &binding.kind {
                BindingKind::SecretsStoreSecret {
                    store_id,
                    secret_name,
                } => {
                    let mut secrets = self.secrets.iter();
                    let found = secrets
                        .find(|secret| secret.store_id == *store_id && secret.name == *secret_name);
                    let sealed = found.map(|secret| (secret.id.clone(), secret.value.clone()));
                    links.secrets.insert(binding.name.clone(), sealed);
                }
                // A Worker that is gone: the call fails, the caller runs on.
                BindingKind::Service { service, .. } if *service != worker.name => {
                    let nobody = || self.session.join("p-nobody");
                    let name = binding.name.clone();
                    links.peers.entry(name).or_insert_with(nobody);
                }
                _ => {}
            }
        }
        links
    }

    /// The other Workers that a Worker's live version binds, if they are there.
    pub(super) fn calls<'a>(&'a self, caller: &'a Worker) -> Vec<Call<'a>> {
        let bindings = caller.live().map(|live| live.bindings.as_slice());
        let bindings = bindings.unwrap_or_default().iter();
        bindings
            .filter_map(|binding| {
                let BindingKind::Service {
                    service,
                    entrypoint,
                    props,
                } = &binding.kind
                else {
                    return None;
                };
                let mut others = self.workers.iter().filter(|other| other.id != caller.id);
                let callee = others.find(|other| other.name == *service)?;
                let entrypoint = Entrypoint {
                    class: entrypoint.clone(),
                    props: props.as_ref().map(ToString::to_string),
                };
                Some(Call {
                    binding: &binding.name,
                    callee,
                    entrypoint,
                })
            })
            .collect()
    }

    /// Whether it is told what other Workers do, or what it does itself.
    pub(super) fn consumes_tails(&self, worker: &Worker) -> bool {
        let others = self.workers.iter().filter(|other| other.id != worker.id);
        let mut producers = others.chain([worker]);
        producers.any(|one| one.tail_consumers().contains(&worker.name))
    }

    pub(super) fn workers(&self) -> &[Worker] {
        &self.workers
    }
}

/// Whether it is more than assets.
pub(super) fn has_code(worker: &Worker) -> bool {
    worker.live().is_some_and(|live| live.main_module.is_some())
}

impl Links {
    /// The same, and called at this entrypoint; `None`: it is so already.
    pub(super) fn called_at(&self, entrypoint: &Entrypoint) -> Option<Self> {
        let mut links = self.clone();
        links
            .entrypoints
            .insert(entrypoint.clone())
            .then_some(links)
    }

    /// What the configuration says of it.
    ///
    /// # Errors
    /// A secret that cannot be decrypted.
    pub(super) fn server_side(
        &self,
        control: &Control,
        data_plane: &Path,
        loopback: bool,
    ) -> Result<ServerSide, ControlError> {
        let secrets = self.secrets.iter().map(|(binding, sealed)| {
            let value = match sealed {
                Some((id, sealed)) => Some(control.open_sealed_store_secret(id, sealed)?),
                None => None,
            };
            Ok((binding.clone(), value))
        });
        Ok(ServerSide {
            data_plane: data_plane.to_owned(),
            peers: self.peers.clone(),
            entrypoints: self.entrypoints.iter().cloned().collect(),
            store_secrets: secrets.collect::<Result<_, ControlError>>()?,
            consumes: self.consumes,
            loopback,
        })
    }
}
