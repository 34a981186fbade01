//! A full disk: a small file system of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::support::{Image, Server, sha256};

/// A tmpfs of this many bytes, unmounted when it goes.
struct Small(PathBuf);

impl Small {
    fn mount(bytes: usize) -> Self {
        let path = tempfile::tempdir().unwrap().keep();
        let size = format!("size={bytes}");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&path);
        assert!(mount.status().unwrap().success(), "mounting needs root");
        Self(path)
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
        let _ = std::fs::remove_dir(&self.0);
    }
}

#[tokio::test]
async fn a_full_disk_refuses_pushes_and_leaves_nothing_half_made() {
    let disk = Small::mount(8 << 20);
    let mut server = Server::start_in(&disk.path().join("data"), json!({"grace_ms": 0}));
    server.push_image("a", "kept", b"kept").await;
    // Whole, and in pieces.
    let large = vec![1; 12 << 20];
    let path = format!("/v2/a/blobs/uploads/?digest={}", sha256(&large));
    server
        .send("POST", &path, large.clone())
        .await
        .error(507, "DENIED");
    let uploads = || {
        std::fs::read_dir(server.data().join("uploads"))
            .unwrap()
            .count()
    };
    assert_eq!(uploads(), 0);
    let location = server.begin("a").await;
    server
        .send("PATCH", &location, large.clone())
        .await
        .error(507, "DENIED");
    let status = server.get(&location).await.expect(204).header("range");
    let have: usize = status.strip_prefix("0-").unwrap().parse().unwrap();
    assert!(have < large.len());
    server.send("DELETE", &location, "").await.expect(204);
    // The blobs still fit, the manifest does not.
    let mut image = Image::new(b"layer");
    image.push_blobs(&server, "a").await;
    image.manifest["annotations"] = json!({"a": "x".repeat(1 << 20)});
    let fill = server.data().join("fill");
    std::fs::write(&fill, vec![0; 4 << 20]).unwrap();
    while std::fs::OpenOptions::new()
        .append(true)
        .open(&fill)
        .and_then(|mut file| std::io::Write::write_all(&mut file, &[0; 65536]))
        .is_ok()
    {}
    for reference in ["x", "kept"] {
        let answer = server.push_manifest("a", reference, &image.manifest).await;
        answer.error(507, "DENIED");
    }
    server
        .get("/v2/a/manifests/x")
        .await
        .error(404, "MANIFEST_UNKNOWN");
    server.check_image("a", "kept").await;
    let tmp = || {
        std::fs::read_dir(server.data().join("tmp"))
            .unwrap()
            .count()
    };
    assert_eq!(tmp(), 0);
    // Reading and deleting work, and room makes pushing work again.
    server.restart();
    server.check_image("a", "kept").await;
    std::fs::remove_file(&fill).unwrap();
    server
        .push_manifest("a", "x", &image.manifest)
        .await
        .expect(201);
    server.check_image("a", "x").await;
    drop(server);
}
