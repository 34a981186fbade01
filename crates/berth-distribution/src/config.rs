//! `registries.json` in the data directory: how registries are reached.
//!
//! ```json
//! {
//!   "registries": {
//!     "docker.io": { "mirrors": ["https://mirror.example.com/hub", "http://10.0.0.7:5000"] },
//!     "registry.example.com": { "ca": "/etc/berth/example-ca.pem", "upload_chunk_mb": 50 },
//!     "fast.example.com": { "compression": "zstd" },
//!     "10.0.0.7:5000": { "plain_http": true },
//!     "old.example.com": { "skip_verify": true, "realms": ["login.example.net"] }
//!   },
//!   "default": "registry.example.com/team",
//!   "parallel": 4
//! }
//! ```
//!
//! A registry is named by the host, with its port, that image names have. Every mistake is an error
//! that names the file and the field; nothing is ignored.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use berth_error::Hint;
use berth_image::LayerCompression;
use reqwest::Url;
use serde_json::{Map, Value};

use crate::json_file::{self, FileError};

/// Name of the file in the data directory.
const FILE: &str = "registries.json";
const DEFAULT_PARALLEL: usize = 4;

/// What is known of registries besides their names.
#[derive(Clone, Debug)]
pub struct Registries {
    hosts: BTreeMap<String, HostConfig>,
    /// Blobs on their way at the same time.
    pub parallel: usize,
    /// Where names without a host are pushed to: `host` or `host/path`.
    pub default: Option<String>,
}

/// How one registry is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostConfig {
    /// Asked first when something is pulled, in this order. The path is put before the repository.
    pub mirrors: Vec<Url>,
    /// HTTP without TLS. Hosts on loopback need no permission.
    pub plain_http: bool,
    /// Any certificate is taken.
    pub skip_verify: bool,
    /// A PEM file of authorities to trust besides the machine's.
    pub ca: Option<PathBuf>,
    /// Other hosts that tokens of this registry come from.
    pub realms: Vec<String>,
    /// Uploads are cut into requests of this many bytes.
    pub upload_chunk: Option<u64>,
    /// How layers that were made on this machine are compressed for it.
    pub compression: Option<LayerCompression>,
}

/// A mistake in the file.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct ConfigError(#[from] FileError);

impl Hint for ConfigError {
    fn hint(&self) -> Option<String> {
        Some("docs/images.md describes the file".to_owned())
    }
}

impl Default for Registries {
    fn default() -> Self {
        Self {
            hosts: BTreeMap::new(),
            parallel: DEFAULT_PARALLEL,
            default: None,
        }
    }
}

impl Registries {
    /// Reads the file of a data directory; without one everything is as usual.
    pub fn load(data: &Path) -> Result<Self, ConfigError> {
        let path = data.join(FILE);
        match json_file::read(&path)? {
            Some(bytes) => Self::parse(&bytes, &path),
            None => Ok(Self::default()),
        }
    }

    /// What is said of a registry, by its host as in image names.
    pub fn host(&self, host: &str) -> HostConfig {
        self.hosts.get(host).cloned().unwrap_or_default()
    }

    /// Sets what is known of one registry.
    #[must_use]
    pub fn with_host(mut self, host: &str, config: HostConfig) -> Self {
        self.hosts.insert(host.to_owned(), config);
        self
    }

    fn parse(bytes: &[u8], path: &Path) -> Result<Self, ConfigError> {
        let value: Value = json_file::parse(path, bytes)?;
        let reader = Reader { path };
        let mut fields = reader.object("the whole file", &value)?;
        let mut registries = Self::default();
        if let Some(hosts) = fields.remove("registries") {
            for (host, value) in reader.object("registries", &hosts)? {
                let field = format!("registries.{host}");
                reader.host_name(&field, &host)?;
                let config = reader.host(&field, &value)?;
                registries.hosts.insert(host, config);
            }
        }
        if let Some(value) = fields.remove("default") {
            registries.default = Some(reader.default("default", &value)?);
        }
        if let Some(value) = fields.remove("parallel") {
            let parallel = reader.number("parallel", &value, 1, 64)?;
            registries.parallel = usize::try_from(parallel).unwrap_or(DEFAULT_PARALLEL);
        }
        reader.nothing_left("", &fields)?;
        Ok(registries)
    }
}

/// Reads fields, and says which one is wrong.
struct Reader<'a> {
    path: &'a Path,
}

impl Reader<'_> {
    fn wrong(&self, field: &str, problem: impl Into<String>) -> ConfigError {
        FileError::field(self.path, field, problem).into()
    }

    fn object(&self, field: &str, value: &Value) -> Result<Map<String, Value>, ConfigError> {
        value
            .as_object()
            .cloned()
            .ok_or_else(|| self.wrong(field, "must be an object"))
    }

    fn text<'v>(&self, field: &str, value: &'v Value) -> Result<&'v str, ConfigError> {
        value
            .as_str()
            .filter(|text| !text.is_empty())
            .ok_or_else(|| self.wrong(field, "must be a text that is not empty"))
    }

    fn boolean(&self, field: &str, value: &Value) -> Result<bool, ConfigError> {
        value
            .as_bool()
            .ok_or_else(|| self.wrong(field, "must be `true` or `false`"))
    }

    fn number(
        &self,
        field: &str,
        value: &Value,
        least: u64,
        most: u64,
    ) -> Result<u64, ConfigError> {
        value
            .as_u64()
            .filter(|number| (least..=most).contains(number))
            .ok_or_else(|| {
                self.wrong(
                    field,
                    format!("must be a whole number from {least} to {most}"),
                )
            })
    }

    fn list<'v>(&self, field: &str, value: &'v Value) -> Result<&'v [Value], ConfigError> {
        value
            .as_array()
            .map(Vec::as_slice)
            .ok_or_else(|| self.wrong(field, "must be a list"))
    }

    fn nothing_left(&self, field: &str, left: &Map<String, Value>) -> Result<(), ConfigError> {
        match left.keys().next() {
            None => Ok(()),
            Some(name) if field.is_empty() => Err(self.wrong(name, "is not a field of this file")),
            Some(name) => {
                Err(self.wrong(&format!("{field}.{name}"), "is not a field of a registry"))
            }
        }
    }

    fn host_name(&self, field: &str, host: &str) -> Result<(), ConfigError> {
        let probe = format!("{host}/x");
        match probe.parse::<berth_image::Reference>() {
            Ok(reference) if reference.host() == host => Ok(()),
            Ok(reference) if host == "index.docker.io" => Err(self.wrong(
                field,
                format!("is written `{}` in this file", reference.host()),
            )),
            _ => Err(self.wrong(
                field,
                "is not a host as image names have it, such as `registry.example.com:5000`",
            )),
        }
    }

    fn default(&self, field: &str, value: &Value) -> Result<String, ConfigError> {
        let text = self.text(field, value)?;
        let host = text.split('/').next().unwrap_or_default();
        self.host_name(field, host)?;
        format!("{text}/x")
            .parse::<berth_image::Reference>()
            .map_err(|_| self.wrong(field, "is not `host` or `host/path`"))?;
        Ok(text.to_owned())
    }

    fn host(&self, field: &str, value: &Value) -> Result<HostConfig, ConfigError> {
        let mut fields = self.object(field, value)?;
        let mut config = HostConfig::default();
        let name = |leaf: &str| format!("{field}.{leaf}");
        if let Some(value) = fields.remove("mirrors") {
            for (index, value) in self.list(&name("mirrors"), &value)?.iter().enumerate() {
                let field = name(&format!("mirrors[{index}]"));
                config.mirrors.push(self.mirror(&field, value)?);
            }
        }
        if let Some(value) = fields.remove("plain_http") {
            config.plain_http = self.boolean(&name("plain_http"), &value)?;
        }
        if let Some(value) = fields.remove("skip_verify") {
            config.skip_verify = self.boolean(&name("skip_verify"), &value)?;
        }
        if let Some(value) = fields.remove("ca") {
            config.ca = Some(self.file(&name("ca"), &value)?);
        }
        if let Some(value) = fields.remove("realms") {
            for (index, value) in self.list(&name("realms"), &value)?.iter().enumerate() {
                let field = name(&format!("realms[{index}]"));
                let host = self.text(&field, value)?;
                if host.contains(['/', ' ']) {
                    return Err(self.wrong(&field, "must be a host, without `https://` and path"));
                }
                config.realms.push(host.to_owned());
            }
        }
        if let Some(value) = fields.remove("upload_chunk_mb") {
            let megabytes = self.number(&name("upload_chunk_mb"), &value, 1, 10_000)?;
            config.upload_chunk = Some(megabytes * 1_000_000);
        }
        if let Some(value) = fields.remove("compression") {
            let field = name("compression");
            let parsed = self.text(&field, &value)?.parse();
            let compression = parsed.map_err(|_| self.wrong(&field, "must be `gzip` or `zstd`"))?;
            config.compression = Some(compression);
        }
        self.nothing_left(field, &fields)?;
        if config.plain_http && (config.skip_verify || config.ca.is_some()) {
            return Err(self.wrong(
                &name("plain_http"),
                "means that there are no certificates: leave out `ca` and `skip_verify`",
            ));
        }
        Ok(config)
    }

    fn mirror(&self, field: &str, value: &Value) -> Result<Url, ConfigError> {
        let text = self.text(field, value)?;
        let url = Url::parse(text)
            .map_err(|error| self.wrong(field, format!("is not a URL: {error}")))?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(self.wrong(field, "must begin with `https://` or `http://` and a host"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(self.wrong(field, "must not have a `?` or `#`"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(self.wrong(
                field,
                "must not have credentials in it: log in with `berth docker login`",
            ));
        }
        Ok(url)
    }

    fn file(&self, field: &str, value: &Value) -> Result<PathBuf, ConfigError> {
        let text = self.text(field, value)?;
        let file = self.path.parent().unwrap_or(Path::new("/")).join(text);
        if !file.is_file() {
            return Err(self.wrong(
                field,
                format!("names `{}`, which is no file", file.display()),
            ));
        }
        Ok(file)
    }
}

#[cfg(test)]
mod tests;
