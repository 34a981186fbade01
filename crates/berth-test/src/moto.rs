//! A stand-in for S3: moto's server, which pip installs once.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use crate::Client;
use crate::world::{cached_in, test_root};

/// Which moto.
const PACKAGE: &str = "moto[server]==5.2.5";

/// A server of S3 with one bucket, killed when it goes.
#[derive(Debug)]
pub struct Moto {
    child: Child,
    endpoint: String,
    bucket: String,
}

impl Moto {
    /// With one empty bucket.
    pub async fn start(bucket: &str) -> Self {
        let environment = cached_in(&test_root(), "moto-5.2.5", |directory| {
            let run = |command: &mut Command| command.status().expect("run python").success();
            let mut venv = Command::new("python3");
            let made = run(venv.args(["-m", "venv", "--copies"]).arg(directory));
            assert!(made, "python3 makes no environment");
            let mut pip = Command::new(directory.join("bin/python"));
            pip.args([
                "-m",
                "pip",
                "install",
                "-q",
                "--disable-pip-version-check",
                PACKAGE,
            ]);
            assert!(run(&mut pip), "pip installs no moto");
        });
        // It has been moved since: its scripts name another interpreter.
        let mut child = Command::new(environment.join("bin/python"))
            .args(["-c", "from moto.server import main; main()"])
            .args(["-H", "127.0.0.1", "-p", "0"])
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("start moto");
        let mut lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
        let endpoint = lines
            .by_ref()
            .find_map(|line| Some(line.ok()?.split_once("Running on ")?.1.trim().to_owned()))
            .expect("moto says where it listens");
        // It writes a line for each request; nobody wants them.
        std::thread::spawn(move || lines.for_each(drop));
        let moto = Self {
            child,
            endpoint,
            bucket: bucket.to_owned(),
        };
        let client = Client::new(&moto.endpoint);
        client.put(&format!("/{bucket}"), "").await.ok();
        moto
    }

    /// Where it is.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Variables with which clients of S3 are let in.
    pub fn variables(&self) -> [(&'static str, &'static str); 3] {
        [
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("AWS_REGION", "us-east-1"),
        ]
    }

    /// Names of the objects in the bucket.
    pub async fn keys(&self) -> Vec<String> {
        let listed = self.get(&format!("/{}?list-type=2", self.bucket)).await;
        let keys = listed.split("<Key>").skip(1);
        keys.filter_map(|rest| Some(rest.split_once("</Key>")?.0.to_owned()))
            .collect()
    }

    /// What an object holds.
    pub async fn object(&self, key: &str) -> String {
        self.get(&format!("/{}/{key}", self.bucket)).await
    }

    /// Asks as somebody: it looks whether a request is signed, not how.
    async fn get(&self, path: &str) -> String {
        let client = Client::new(&self.endpoint);
        let mut request = client.request(http::Method::GET, path, "");
        let signed = "AWS4-HMAC-SHA256 Credential=test/20261130/us-east-1/s3/aws4_request, \
                      SignedHeaders=host, Signature=00";
        let signed = http::HeaderValue::from_static(signed);
        let headers = request.headers_mut();
        headers.insert(http::header::AUTHORIZATION, signed);
        client.send(request).await.ok().text()
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
