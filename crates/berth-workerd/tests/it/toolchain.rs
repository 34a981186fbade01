//! The real installation, into a fresh cache.

use std::sync::{Arc, Mutex};

use berth_workerd::{Toolchain, ToolchainError, ToolchainEvent};

#[tokio::test]
async fn two_at_once_install_once_and_a_third_finds_it_there() {
    let cache = tempfile::tempdir().unwrap();
    let events = Arc::new(Mutex::new(Vec::new()));
    let ensure = || {
        let events = Arc::clone(&events);
        Toolchain::ensure(cache.path(), move |event| {
            events.lock().unwrap().push(event);
        })
    };
    let (first, second) = tokio::join!(ensure(), ensure());
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!(first.workerd, second.workerd);

    let seen = std::mem::take(&mut *events.lock().unwrap());
    let count = |wanted: fn(&ToolchainEvent) -> bool| seen.iter().filter(|e| wanted(e)).count();
    assert_eq!(count(|e| matches!(e, ToolchainEvent::Installing(_))), 1);
    assert_eq!(count(|e| matches!(e, ToolchainEvent::Waiting)), 1);
    assert_eq!(count(|e| matches!(e, ToolchainEvent::Installed)), 1);

    let third = ensure().await.unwrap();
    assert!(events.lock().unwrap().is_empty());
    for (tool, argument, version) in [
        (&third.workerd, "--version", "2026-11-17"),
        (&third.esbuild, "--version", "0.28.2"),
    ] {
        let output = std::process::Command::new(tool)
            .arg(argument)
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains(version), "{text}");
    }
    let leftovers: Vec<_> = std::fs::read_dir(cache.path().join("tools"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with("partial"))
        .collect();
    assert!(leftovers.is_empty(), "{leftovers:?}");
}

#[tokio::test]
async fn a_cache_that_is_a_file_is_one_clear_error() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = Toolchain::ensure(file.path(), |_| {}).await.unwrap_err();
    assert!(matches!(error, ToolchainError::Cache { .. }), "{error}");
}
