//! Static assets: what there is, and sending what the server does not have yet
//! (`deploy-helpers/src/deploy/helpers/assets.ts`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use berth_client::{Body, Client, Form, Part, segment};
use berth_config::Project;
use berth_error::{Report, ResultExt as _};
use http::Method;
use http::header::{AUTHORIZATION, HeaderValue};
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use serde_json::{Map, Value, json};

use super::steps::Steps;
use super::upload::Upload;
use crate::transfer::units;

/// Bytes of one file.
const LARGEST: u64 = 25 << 20;
/// Files of one Worker.
const MOST: usize = 100_000;
/// They say how the others are served.
const CONFIGURING: [&str; 3] = [".assetsignore", "_redirects", "_headers"];

/// The files, by their paths in URLs.
#[derive(Debug, Default)]
pub(super) struct Manifest {
    files: BTreeMap<String, File>,
}

#[derive(Debug)]
struct File {
    path: PathBuf,
    hash: String,
    size: u64,
}

impl Manifest {
    /// Those of a project; `None` if it has no assets.
    pub(super) fn of(project: &Project) -> Result<Option<Self>, Report> {
        let Some(assets) = &project.assets else {
            return Ok(None);
        };
        let mut manifest = Self::default();
        let ignored = ignored(&assets.directory)?;
        manifest.add(&assets.directory, &assets.directory, &ignored)?;
        Ok(Some(manifest))
    }

    pub(super) fn len(&self) -> usize {
        self.files.len()
    }

    /// As the API has it.
    pub(super) fn to_json(&self) -> Value {
        let files = self.files.iter().map(|(path, file)| {
            let entry = json!({"hash": file.hash, "size": file.size});
            (path.clone(), entry)
        });
        Value::Object(Map::from_iter(files))
    }

    fn add(&mut self, root: &Path, directory: &Path, ignored: &Gitignore) -> Result<(), Report> {
        let entries = fs_err::read_dir(directory).context("could not read the assets")?;
        for entry in entries {
            let entry = entry.context("could not read the assets")?;
            let path = entry.path();
            // Through links, as wrangler does.
            let metadata = fs_err::metadata(&path).context("could not read an asset")?;
            let within = path.strip_prefix(root).unwrap_or(&path);
            if ignored
                .matched_path_or_any_parents(within, metadata.is_dir())
                .is_ignore()
            {
                continue;
            }
            if metadata.is_dir() {
                self.add(root, &path, ignored)?;
                continue;
            }
            let Some(within) = within.to_str() else {
                return Err(Report::new(
                    format!(
                        "the asset `{}` has a name that is not UTF-8",
                        path.display()
                    ),
                    Some("rename it, or name it in `.assetsignore`".to_owned()),
                ));
            };
            if directory == root && CONFIGURING.contains(&within) {
                continue;
            }
            self.file(within, &path, metadata.len())?;
        }
        Ok(())
    }

    fn file(&mut self, within: &str, path: &Path, size: u64) -> Result<(), Report> {
        if size > LARGEST {
            return Err(Report::new(
                format!(
                    "the asset `{within}` has {}, at most {} are allowed",
                    units::size(size),
                    units::size(LARGEST)
                ),
                Some("name it in `.assetsignore`".to_owned()),
            ));
        }
        let bytes = fs_err::read(path).context("could not read an asset")?;
        let parts = within.split('/').map(segment).collect::<Vec<_>>();
        let file = File {
            path: path.to_owned(),
            hash: hash(path, &bytes),
            size: bytes.len() as u64,
        };
        self.files.insert(format!("/{}", parts.join("/")), file);
        if self.files.len() > MOST {
            return Err(Report::new(
                format!("there are more than {MOST} assets"),
                Some("name directories that need not be served in `.assetsignore`".to_owned()),
            ));
        }
        Ok(())
    }
}

fn ignored(directory: &Path) -> Result<Gitignore, Report> {
    let mut builder = GitignoreBuilder::new("");
    let path = directory.join(".assetsignore");
    if let Ok(text) = fs_err::read_to_string(&path) {
        for line in text.lines() {
            builder
                .add_line(None, line)
                .context(format!("`{}` cannot be understood", path.display()))?;
        }
    }
    builder.build().context("could not read `.assetsignore`")
}

/// The first 32 hexadecimal digits of BLAKE3 over the content in base64 and the name's extension.
fn hash(path: &Path, bytes: &[u8]) -> String {
    let extension = path.extension().unwrap_or_default().to_string_lossy();
    let mut hasher = blake3::Hasher::new();
    hasher.update(BASE64.encode(bytes).as_bytes());
    hasher.update(extension.as_bytes());
    hasher.finalize().to_hex()[..32].to_owned()
}

/// Sends what the server does not have; the upload names the result then.
pub(super) async fn send(
    client: &Client,
    project: &Project,
    upload: &mut Upload,
    steps: &Steps,
) -> Result<(), Report> {
    let Some(manifest) = &upload.assets else {
        return Ok(());
    };
    let work = async {
        let path = format!(
            "workers/scripts/{}/assets-upload-session",
            segment(&project.name)
        );
        let call = client.call(Method::POST, path);
        let body = json!({"manifest": manifest.to_json()});
        let session: Value = call.json(&body).send().await?;
        let mut token = word(&session, "jwt")?;
        let buckets = session["buckets"].as_array().cloned().unwrap_or_default();
        let mut sent = 0;
        for bucket in &buckets {
            let hashes: Vec<&str> = bucket
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect();
            sent += hashes.len();
            let answer = send_bucket(client, manifest, &hashes, &word(&session, "jwt")?).await?;
            if let Some(complete) = answer["jwt"].as_str() {
                token = complete.to_owned();
            }
        }
        Ok((
            token,
            format!("{} files, {sent} of them new", manifest.len()),
        ))
    };
    let token = steps.run("assets", work).await?;
    if let Some(assets) = upload.metadata.get_mut("assets") {
        assets["jwt"] = token.into();
    }
    Ok(())
}

async fn send_bucket(
    client: &Client,
    manifest: &Manifest,
    hashes: &[&str],
    token: &str,
) -> Result<Value, Report> {
    let mut form = Form::new();
    for hash in hashes {
        let mut files = manifest.files.values();
        let Some(file) = files.find(|file| file.hash == *hash) else {
            return Err(Report::new(
                format!("the server asks for the asset `{hash}`, which is none of this project"),
                None,
            ));
        };
        let bytes = fs_err::read(&file.path).context("could not read an asset")?;
        let kind = mime_guess::from_path(&file.path).first_raw();
        let part = Part::text(BASE64.encode(bytes))
            .file_name((*hash).to_owned())
            .mime_str(kind.unwrap_or("application/null"))
            .context("could not write the upload")?;
        form = form.part((*hash).to_owned(), part);
    }
    let mut authorization = HeaderValue::try_from(format!("Bearer {token}"))
        .context("the server's upload token cannot be used")?;
    authorization.set_sensitive(true);
    let call = client
        .call(Method::POST, "workers/assets/upload")
        .query("base64", "true")
        .header(AUTHORIZATION, authorization)
        .body(Body::Form(form));
    Ok(call.send().await?)
}

fn word(value: &Value, name: &str) -> Result<String, Report> {
    let text = value[name].as_str().map(str::to_owned);
    text.ok_or_else(|| Report::new(format!("the server's answer lacks `{name}`"), None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_but_those_that_configure_or_are_ignored() {
        let root = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = root.path().join(name);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, text).unwrap();
        };
        write("index.html", "<p>");
        write("a b/c.txt", "c");
        write("_headers", "x");
        write("sub/_headers", "y");
        write("secret/key", "k");
        write(".assetsignore", "secret\n*.map\n");
        write("app.js.map", "m");
        let ignored = ignored(root.path()).unwrap();
        let mut manifest = Manifest::default();
        manifest.add(root.path(), root.path(), &ignored).unwrap();
        let paths: Vec<&str> = manifest.files.keys().map(String::as_str).collect();
        assert_eq!(paths, ["/a%20b/c.txt", "/index.html", "/sub/_headers"]);
        let entry = &manifest.to_json()["/index.html"];
        assert_eq!(entry["size"], 3);
        assert_eq!(entry["hash"].as_str().unwrap().len(), 32);
    }
}
