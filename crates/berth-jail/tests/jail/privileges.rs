//! What a sandbox gets that asks for more than every sandbox has.

use berth_jail::{Device, Rlimit, RlimitKind};

use crate::world::World;

/// `EPERM`, `ENOENT`, `EINVAL`.
const REFUSED: [&str; 3] = ["1", "2", "22"];

#[tokio::test]
async fn who_has_sys_admin_mounts_for_itself_and_uncovers_nothing() {
    for world in World::of_each_kind().await {
        for asks in [true, false] {
            let image = world.image();
            let mut spec = world.spec(&image, &["mount"]);
            if asks {
                spec.capabilities.push("CAP_SYS_ADMIN".to_owned());
                spec.extras.devices.push(Device::Fuse);
            }
            let (sandbox, mut stdout, _stderr) = world.start(spec).await.unwrap();
            for step in ["tmpfs", "fuse", "unmask", "under", "writable"] {
                let (line, rest) = stdout.line().await;
                stdout = rest;
                let (what, errno) = line.split_once(' ').unwrap();
                assert_eq!(what, step);
                let given = asks && ["tmpfs", "fuse"].contains(&step);
                if given {
                    assert_eq!(errno, "0", "{step}");
                } else {
                    assert!(REFUSED.contains(&errno), "{step}: {errno} (asks: {asks})");
                }
            }
            sandbox.kill_all().await.unwrap();
        }
        world.finish().await;
    }
}

#[tokio::test]
async fn limits_of_processes_hold_and_never_exceed_the_daemons() {
    for world in World::of_each_kind().await {
        let image = world.image();
        let mut spec = world.spec(&image, &["limits"]);
        spec.extras.rlimits = vec![
            Rlimit {
                kind: RlimitKind::Nofile,
                soft: Some(64),
                hard: Some(128),
            },
            Rlimit {
                kind: RlimitKind::Memlock,
                soft: None,
                hard: None,
            },
        ];
        let output = world.run(spec).await.unwrap();
        let line = |name: &str| {
            let mut lines = output.stdout.lines();
            let line = lines.find(|line| line.starts_with(name)).unwrap();
            let fields: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            fields
        };
        assert_eq!(line("Max open files")[3..5], ["64", "128"]);
        let own = std::fs::read_to_string("/proc/self/limits").unwrap();
        let own = own.lines().find(|l| l.starts_with("Max locked")).unwrap();
        let own: Vec<&str> = own.split_whitespace().collect();
        assert_eq!(line("Max locked")[4], own[4], "the hard limit stays");
        world.finish().await;
    }
}
