//! New versions: how an upload fits a Worker, and its way into the record.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest as _, Sha256};

use super::Control;
use super::pins::Pins;
use crate::ControlError;
use crate::assets::{Assets, AssetsError};
use crate::migrations::{self, Class, Migrated, MigrationError, Migrations, Transferred};
use crate::pending::Pending;
use crate::upload::{Upload, UploadError};
use crate::worker::{self, Binding, Module, Version, Worker};

/// An upload whose modules are kept, and which is no version of a Worker yet. Dropping it gives the
/// modules up.
#[derive(Debug)]
pub struct NewVersion {
    control: Control,
    worker: String,
    id: String,
    author: String,
    upload: Upload,
    modules: Vec<Module>,
    /// Those that come with it.
    assets: Option<Assets>,
    etag: String,
    /// Modules and assets are content that no record names yet.
    pins: Pins,
    /// Sealed once, so that the same secret is not another one when the change is made again.
    secrets: BTreeMap<String, berth_store::Sealed>,
}

/// How an upload would change a Worker.
#[derive(Debug)]
struct Fit {
    version: Version,
    migrated: Migrated,
}

impl Control {
    /// Keeps the modules of an upload and checks that it fits the Worker as it is now.
    ///
    /// # Errors
    /// What is wrong with it. Nothing of it is kept then.
    pub fn prepare(
        &self,
        worker: &str,
        author: &str,
        mut upload: Upload,
    ) -> Result<NewVersion, ControlError> {
        if !worker::is_name(worker) {
            return Err(ControlError::BadName(worker.to_owned()));
        }
        let mut new = NewVersion {
            control: self.clone(),
            worker: worker.to_owned(),
            id: worker::version_id(),
            author: author.to_owned(),
            modules: Vec::new(),
            assets: None,
            etag: String::new(),
            pins: self.pins(),
            secrets: self.seal(worker, &upload.secrets)?,
            upload: Upload {
                modules: Vec::new(),
                ..upload.clone()
            },
        };
        let mut whole = Sha256::new();
        for module in std::mem::take(&mut upload.modules) {
            let digest = new.pins.put(&module.bytes)?;
            whole.update(format!("{}\0{digest}\n", module.name));
            new.modules.push(Module {
                name: module.name,
                kind: module.kind,
                digest,
                size: module.bytes.len() as u64,
            });
        }
        if let Some(assets) = &upload.assets {
            new.assets = self.take_assets(worker, assets, &new.pins)?;
        }
        if let Some(assets) = &new.assets {
            whole.update(&assets.manifest);
        }
        new.etag = crate::token::hex(&whole.finalize());
        new.fit(&new.present()?)?;
        Ok(new)
    }
}

impl NewVersion {
    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The Worker as it would be with this version live, for whoever tries it out first.
    ///
    /// # Errors
    /// It does not fit the Worker any more.
    pub fn tried(&self) -> Result<Worker, ControlError> {
        let mut worker = self.present()?;
        self.put_into(&mut worker, true)?;
        Ok(worker)
    }

    /// Makes it a version, and the live one if `live`. All or nothing. With [`Upload::atomic`] and containers
    /// it waits for these in [`Worker::pending`] instead, if the Worker answers already.
    ///
    /// # Errors
    /// It does not fit the Worker any more, or there is no Worker and `live` is not wanted.
    pub fn commit(self, live: bool) -> Result<Worker, ControlError> {
        let control = self.control.clone();
        let name = self.worker.clone();
        let change = |worker: &mut Worker| {
            if live && self.waits(worker) {
                self.put_beside(worker)?;
            } else {
                self.put_into(worker, live)?;
            }
            Ok(worker.clone())
        };
        let worker = if live {
            control.remember_configurations(&name)?;
            control.update_with(&name, self.upload.migrations.as_ref(), change)?
        } else {
            control.update(&name, change)?
        };
        drop(self);
        control.collect()?;
        Ok(worker)
    }

    fn present(&self) -> Result<Worker, ControlError> {
        match self.control.worker(&self.worker) {
            Err(ControlError::NoWorker(name)) => Ok(Worker::new(&name)),
            other => other,
        }
    }

    /// Whether it is live only when its containers are known: those of a Worker that answers already.
    fn waits(&self, worker: &Worker) -> bool {
        self.upload.atomic && !self.upload.containers.is_empty() && worker.live().is_some()
    }

    /// What is live stays as it is.
    fn put_beside(&self, worker: &mut Worker) -> Result<(), ControlError> {
        let Fit { version, migrated } = self.fit(worker)?;
        taken_now(&migrated)?;
        worker.last_number = version.number;
        worker.pending = Some(Box::new(Pending {
            version_id: self.id.clone(),
            created: version.created.clone(),
            author: self.author.clone(),
            annotations: self.upload.annotations.clone(),
            classes: migrated.classes,
            migration_tag: migrated.tag,
            discarded: migrated.deleted.into_iter().map(|it| it.key).collect(),
            observability: self.upload.observability.clone(),
            tail_consumers: self.upload.tail_consumers.clone(),
            configurations: BTreeMap::new(),
            made: Vec::new(),
        }));
        worker.versions.push(version);
        worker.forget(&self.control.retention());
        Ok(())
    }

    fn put_into(&self, worker: &mut Worker, live: bool) -> Result<(), ControlError> {
        let Fit { version, migrated } = self.fit(worker)?;
        if !live {
            taken_now(&migrated)?;
        }
        worker.classes = migrated.classes;
        worker.migration_tag = migrated.tag;
        if live {
            worker.observe(self.upload.observability.clone());
            worker.set_tail_consumers(&self.upload.tail_consumers);
        }
        let discarded = migrated.deleted.into_iter().map(|class| class.key);
        worker.discarded.extend(discarded);
        worker.last_number = version.number;
        worker.versions.push(version);
        if live {
            let annotations = self.upload.annotations.clone();
            worker.deploy(&self.id, &self.author, annotations);
        }
        worker.forget(&self.control.retention());
        Ok(())
    }

    fn fit(&self, worker: &Worker) -> Result<Fit, ControlError> {
        let migrated = self.migrate(worker)?;
        for (binding, class) in self.upload.objects() {
            if !migrated.classes.contains_key(class) {
                return Err(MigrationError::Unmade {
                    binding: binding.to_owned(),
                    class: class.to_owned(),
                }
                .into());
            }
        }
        let (bindings, secrets) = self.bindings(worker)?;
        self.control.check_buckets(&bindings)?;
        self.control.check_targets(&self.worker, &bindings)?;
        let consumers = &self.upload.tail_consumers;
        self.control.check_tail_consumers(&self.worker, consumers)?;
        let version = Version {
            id: self.id.clone(),
            number: worker.last_number + 1,
            created: crate::clock::now(),
            author: self.author.clone(),
            annotations: self.upload.annotations.clone(),
            main_module: self.upload.main_module.clone(),
            modules: self.modules.clone(),
            bindings,
            secrets,
            compatibility_date: self.upload.compatibility_date.clone(),
            compatibility_flags: self.upload.compatibility_flags.clone(),
            containers: self.upload.containers.clone(),
            assets: self.assets(worker)?,
            etag: self.etag.clone(),
            atomic: self.upload.atomic,
        };
        Ok(Fit { version, migrated })
    }

    /// Those of the upload, or those of the version before if they are to stay.
    fn assets(&self, worker: &Worker) -> Result<Option<Assets>, ControlError> {
        let upload = &self.upload;
        let keep = upload.keep_assets || upload.assets.is_some();
        if self.assets.is_some() || !keep {
            return Ok(self.assets.clone());
        }
        let former = worker.latest().and_then(|former| former.assets.clone());
        let config = upload.assets.as_ref().and_then(|new| new.config.clone());
        match (former, config) {
            (Some(former), Some(config)) => Ok(Some(Assets { config, ..former })),
            (Some(former), None) => Ok(Some(former)),
            (None, _) if upload.assets.is_some() => Err(AssetsError::NothingToKeep.into()),
            (None, _) => Ok(None),
        }
    }

    fn migrate(&self, worker: &Worker) -> Result<Migrated, ControlError> {
        let none = Migrations::default();
        let migrations = self.upload.migrations.as_ref().unwrap_or(&none);
        let make = |_: &str, sqlite| {
            let id = uuid::Uuid::new_v4().simple().to_string();
            Class {
                key: id.clone(),
                namespace_id: id,
                sqlite,
                kept_by: None,
                transferred: false,
            }
        };
        // What the records say is looked at before: here it has the form of a migration's own error.
        let sources = self.control.sources(&self.worker, migrations)?;
        let take = |transferred: &Transferred| sources.class(transferred);
        let tag = worker.migration_tag.as_deref();
        Ok(migrations::apply(
            &worker.classes,
            tag,
            migrations,
            make,
            take,
        )?)
    }

    /// Those of the upload, those that it inherits, and those that stay. Secrets always stay: no
    /// wrangler before 4.164 asks for it.
    fn bindings(
        &self,
        worker: &Worker,
    ) -> Result<(Vec<Binding>, BTreeMap<String, berth_store::Sealed>), ControlError> {
        let upload = &self.upload;
        let mut bindings = upload.bindings.clone();
        let mut secrets = self.secrets.clone();
        let former = worker.latest();
        let own: BTreeSet<&str> = bindings
            .iter()
            .map(|binding| binding.name.as_str())
            .chain(upload.secrets.keys().map(String::as_str))
            .collect();
        let mut taken = Vec::new();
        if let Some(former) = former {
            for binding in &former.bindings {
                let inherited = upload.inherited.contains(&binding.name);
                let kept = upload.keep.contains(binding.kind.word());
                if (inherited || kept) && !own.contains(binding.name.as_str()) {
                    taken.push(binding.clone());
                }
            }
            for (name, sealed) in &former.secrets {
                if !own.contains(name.as_str()) {
                    secrets.insert(name.clone(), sealed.clone());
                }
            }
        }
        bindings.extend(taken);
        for name in &upload.inherited {
            let there = bindings.iter().any(|binding| binding.name == *name);
            if !there && !secrets.contains_key(name) {
                return Err(UploadError::Inherit(name.clone()).into());
            }
        }
        Ok((bindings, secrets))
    }
}

/// Classes of other Workers change hands in the write that makes the version live.
fn taken_now(migrated: &Migrated) -> Result<(), MigrationError> {
    match migrated.taken.first() {
        Some(taken) => Err(MigrationError::TransferLater(taken.from.clone())),
        None => Ok(()),
    }
}
