//! What something needs that does not run: the kept versions of an application, for example.
//!
//! A pin has an owner, a text that says to people what it is for, and stays until the owner takes it
//! back. One file for each owner, `pins/<digest of the owner>`, replaced as a whole.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use fs_err as fs;
use serde::{Deserialize, Serialize};

use super::ImageStore;
use crate::{Digest, Image, ImageError};

/// What an owner keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// For whom, such as "version 12 of application `shop`".
    pub owner: String,
    /// The ids of its images.
    pub images: Vec<Digest>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) owner: String,
    /// Image id → manifest.
    pub(super) images: BTreeMap<Digest, Digest>,
}

impl ImageStore {
    /// Keeps an image until `owner` says otherwise: [`ImageStore::collect`] leaves it alone, named or
    /// not. An owner may keep several.
    pub fn pin(&self, owner: &str, image: &Image) -> Result<(), ImageError> {
        self.change_pin(owner, |record| {
            record
                .images
                .insert(image.id.clone(), image.manifest.clone());
        })
    }

    /// Takes back all that an owner keeps; returns whether there was anything.
    pub fn unpin(&self, owner: &str) -> Result<bool, ImageError> {
        let mut had = false;
        self.change_pin(owner, |record| {
            had = !record.images.is_empty();
            record.images.clear();
        })?;
        Ok(had)
    }

    /// Takes an image from all owners that keep it.
    pub fn unpin_image(&self, id: &Digest) -> Result<(), ImageError> {
        for pin in self.pins()? {
            self.change_pin(&pin.owner, |record| {
                record.images.remove(id);
            })?;
        }
        Ok(())
    }

    /// All pins, by owner.
    pub fn pins(&self) -> Result<Vec<Pin>, ImageError> {
        let records = read_all(&self.inner.root)?;
        let mut pins: Vec<Pin> = records
            .into_iter()
            .map(|record| Pin {
                owner: record.owner,
                images: record.images.into_keys().collect(),
            })
            .collect();
        pins.sort_by(|a, b| a.owner.cmp(&b.owner));
        Ok(pins)
    }

    fn change_pin(&self, owner: &str, change: impl FnOnce(&mut Record)) -> Result<(), ImageError> {
        let _lock = self.lock_index()?;
        let path = self.pin_path(owner);
        let mut record = read(&path)?.unwrap_or_default();
        owner.clone_into(&mut record.owner);
        change(&mut record);
        if record.images.is_empty() {
            return match fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    Err(ImageError::io("remove", &path)(error))
                }
                _ => Ok(()),
            };
        }
        let bytes = crate::json::canonical(crate::json::value(&record, "the pin")?);
        let mut file = self.new_blob()?;
        let write = |file: &mut tempfile::NamedTempFile| {
            file.write_all(&bytes)?;
            file.as_file().sync_data()
        };
        write(&mut file).map_err(ImageError::io("write", file.path()))?;
        file.persist(&path)
            .map(drop)
            .map_err(|error| ImageError::io("replace", &path)(error.error))
    }

    fn pin_path(&self, owner: &str) -> PathBuf {
        let name = Digest::of(owner.as_bytes());
        self.inner.root.join("pins").join(name.hex())
    }
}

/// The records of all owners.
pub(super) fn read_all(root: &Path) -> Result<Vec<Record>, ImageError> {
    let directory = root.join("pins");
    let mut records = Vec::new();
    for entry in fs::read_dir(&directory).map_err(ImageError::io("read", &directory))? {
        let entry = entry.map_err(ImageError::io("read", &directory))?;
        records.extend(read(&entry.path())?);
    }
    Ok(records)
}

fn read(path: &Path) -> Result<Option<Record>, ImageError> {
    match fs::read(path) {
        Ok(bytes) => crate::json::parse(&bytes, format!("`{}`", path.display())).map(Some),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(ImageError::io("read", path)(error)),
    }
}
