//! A server of our own, and an S3 client that is somebody else's.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use object_store::aws::{AmazonS3, AmazonS3Builder, S3ConditionalPut};
use object_store::{ClientOptions, RetryConfig};

pub(crate) struct Server {
    child: Child,
    pub(crate) address: String,
    pub(crate) socket: std::path::PathBuf,
}

impl Server {
    /// With its store in a directory, and points at which it dies.
    pub(crate) fn start(directory: &Path, crash: Option<&Path>, bytes: Option<&str>) -> Self {
        let socket = directory.join("r2.sock");
        let mut command = Command::new(env!("CARGO_BIN_EXE_berth-r2-test-server"));
        command
            .arg(directory)
            .arg(&socket)
            .args(bytes)
            .stdout(Stdio::piped());
        command
            .env("AWS_ACCESS_KEY_ID", "x")
            .env("AWS_SECRET_ACCESS_KEY", "x");
        if let Some(crash) = crash {
            command.env(berth_crash::VARIABLE, crash);
        }
        let mut child = command.spawn().unwrap();
        let mut address = String::new();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        lines.read_line(&mut address).unwrap();
        let address = address.trim().to_owned();
        assert!(!address.is_empty(), "the server says where it is");
        Self {
            child,
            address,
            socket,
        }
    }

    /// Most memory that it had, in bytes.
    pub(crate) fn most_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .unwrap();
        let kilobytes: u64 = line.trim().trim_end_matches("kB").trim().parse().unwrap();
        kilobytes * 1024
    }

    /// Waits for it to die of itself.
    pub(crate) fn dead(mut self) {
        self.child.wait().unwrap();
    }

    pub(crate) fn client(&self, key: &str, bucket: &str) -> AmazonS3 {
        client(&format!("http://{}", self.address), key, bucket)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn client(endpoint: &str, key: &str, bucket: &str) -> AmazonS3 {
    let options = ClientOptions::new().with_allow_http(true);
    let retry = RetryConfig {
        max_retries: 0,
        ..RetryConfig::default()
    };
    AmazonS3Builder::new()
        .with_endpoint(endpoint)
        .with_bucket_name(bucket)
        .with_region("auto")
        .with_access_key_id(key)
        .with_secret_access_key(format!("secret of {key}"))
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        .with_client_options(options)
        .with_retry(retry)
        .build()
        .unwrap()
}

pub(crate) fn provider() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Bytes that are not the same anywhere.
pub(crate) fn bytes(seed: u64, count: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    })
    .flatten()
    .take(count)
    .collect()
}

/// Files below a directory.
pub(crate) fn files(directory: &Path) -> usize {
    let mut count = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        count += if path.is_dir() { files(&path) } else { 1 };
    }
    count
}
