//! `ADD` of archives that try to leave their directory, or to be larger than they look.

use std::io::Write as _;

use tar::{Builder, EntryType, Header};

use super::world;

type Tar = Builder<Vec<u8>>;
/// Its name, and what fills the archive.
type Attack = (&'static str, Box<dyn Fn(&mut Tar)>);

fn entry(tar: &mut Tar, name: &str, kind: EntryType, link: &str, content: &[u8]) {
    let mut header = Header::new_ustar();
    // `set_path` would refuse what this is about.
    header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(0o777);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(content.len() as u64);
    if !link.is_empty() {
        header.set_link_name_literal(link).unwrap();
    }
    header.set_cksum();
    tar.append(&header, content).unwrap();
}

fn file(tar: &mut Tar, name: &str) {
    entry(tar, name, EntryType::Regular, "", b"overwritten");
}

/// Every way out that an archive can try: names with `..` or from the root, links and then names
/// through them, hard links to files outside, links in place of directories.
#[tokio::test(flavor = "multi_thread")]
async fn archives_do_not_leave_their_directory() {
    let (world, canary) = world();
    let (path, up) = (canary.text().to_owned(), canary.up());
    let attacks: Vec<Attack> = vec![
        ("dots", {
            let up = up.clone();
            Box::new(move |tar| file(tar, &short(&format!("{up}/secret"))))
        }),
        ("absolute", {
            let path = path.clone();
            Box::new(move |tar| file(tar, &format!("{path}/secret")))
        }),
        ("through a link", {
            let path = path.clone();
            Box::new(move |tar| {
                entry(tar, "out", EntryType::Symlink, &path, b"");
                file(tar, "out/secret");
                file(tar, "out/new");
                entry(tar, "out/hollow", EntryType::Directory, "", b"");
            })
        }),
        ("through a relative link", {
            let up = short(&up);
            Box::new(move |tar| {
                entry(tar, "out", EntryType::Symlink, &up, b"");
                file(tar, "out/secret");
            })
        }),
        ("through two links", {
            let path = path.clone();
            Box::new(move |tar| {
                entry(tar, "one", EntryType::Symlink, "/", b"");
                entry(tar, "two", EntryType::Symlink, "one", b"");
                file(tar, &format!("two{path}/secret"));
            })
        }),
        ("hard link to a file outside", {
            let path = path.clone();
            Box::new(move |tar| {
                let target = format!("{path}/secret");
                entry(tar, "hard", EntryType::Link, &target, b"");
                file(tar, "hard");
            })
        }),
        ("hard link through a link", {
            let path = path.clone();
            Box::new(move |tar| {
                entry(tar, "out", EntryType::Symlink, &path, b"");
                entry(tar, "hard", EntryType::Link, "out/secret", b"");
                file(tar, "hard");
            })
        }),
        ("link over a file that is written again", {
            let path = path.clone();
            Box::new(move |tar| {
                let target = format!("{path}/secret");
                entry(tar, "file", EntryType::Symlink, &target, b"");
                file(tar, "file");
            })
        }),
        ("directory's mode through a link", {
            let path = path.clone();
            Box::new(move |tar| {
                entry(tar, "dir", EntryType::Symlink, &path, b"");
                entry(tar, "dir", EntryType::Directory, "", b"");
                entry(tar, "dir/", EntryType::Directory, "", b"");
            })
        }),
        ("the root itself as a link", {
            let path = path.clone();
            Box::new(move |tar| {
                entry(tar, ".", EntryType::Symlink, &path, b"");
                file(tar, "secret");
            })
        }),
        ("/proc", {
            let path = path.clone();
            Box::new(move |tar| {
                entry(tar, "out", EntryType::Symlink, "/proc/self/root", b"");
                file(tar, &format!("out{path}/secret"));
            })
        }),
    ];
    for (name, attack) in attacks {
        let mut tar = Builder::new(Vec::new());
        attack(&mut tar);
        std::fs::write(world.context().join("a.tar"), tar.into_inner().unwrap()).unwrap();
        for destination in ["/x/y/", "/", "/srv/absolute/"] {
            let dockerfile = format!("FROM corpus/base\nADD a.tar {destination}\n");
            let (built, _) = world.attempt(&world.request(&dockerfile)).await;
            // Names and links end at the root; what would need something outside is refused.
            match name {
                "hard link to a file outside" | "hard link through a link" => {
                    canary.assert_refused(built, "the hard link's target is not in the layer");
                }
                _ => drop(canary.assert_built(&world, built)),
            }
        }
    }
    world.close().await;
}

/// The last 100 bytes of a path with enough `../`, for a header's field.
fn short(path: &str) -> String {
    let mut path = path;
    while path.len() > 99 {
        path = path.strip_prefix("../").unwrap();
    }
    path.to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_of_archives_are_not_devices_for_a_step() {
    let (world, canary) = world();
    let mut tar = Builder::new(Vec::new());
    let mut header = Header::new_ustar();
    header.set_path("zero").unwrap();
    header.set_entry_type(EntryType::Char);
    header.set_device_major(1).unwrap();
    header.set_device_minor(5).unwrap();
    header.set_mode(0o666);
    header.set_size(0);
    header.set_cksum();
    tar.append(&header, std::io::empty()).unwrap();
    std::fs::write(world.context().join("a.tar"), tar.into_inner().unwrap()).unwrap();
    let built = world
        .build(
            "FROM corpus/base\nADD a.tar /dev2/\n\
             RUN if head -c1 /dev2/zero; then echo opened; else echo refused; fi 2>/dev/null\n",
        )
        .await;
    assert_eq!(built.output(), ["refused"]);
    canary.assert_unseen(&world, &built.image);
    world.close().await;
}

/// A small archive that unpacks to far more than the disk shall give.
#[tokio::test(flavor = "multi_thread")]
async fn a_bomb_ends_where_the_disk_s_reserve_begins() {
    let (world, canary) = world();
    let mut encoder = flate2::write::GzEncoder::new(
        std::fs::File::create(world.context().join("bomb.tar.gz")).unwrap(),
        flate2::Compression::best(),
    );
    let size: u64 = 4 << 30;
    let mut header = Header::new_gnu();
    header.set_path("bomb").unwrap();
    header.set_size(size);
    header.set_mode(0o644);
    header.set_cksum();
    encoder.write_all(header.as_bytes()).unwrap();
    // The first part of it is enough: the build must end before it notices that the rest is missing.
    let zeros = vec![0; 1 << 20];
    for _ in 0..600 {
        encoder.write_all(&zeros).unwrap();
    }
    encoder.finish().unwrap();
    let mut request = world.request("FROM scratch\nADD bomb.tar.gz /\n");
    request.bounds.disk_reserve = super::bounds::all_but(&world, 200 << 20);
    let error = world.run(&request).await.unwrap_err();
    let report = berth_error::Report::from(error).render_plain();
    assert!(report.contains("disk"), "{report}");
    world.assert_clean();
    canary.assert_untouched();
    world.close().await;
}
