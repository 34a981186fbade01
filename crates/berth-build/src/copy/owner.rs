//! `--chown=user:group`: names are looked up in the image's own files.

use std::io::Read as _;

use berth_image::Root;

use crate::dockerfile::Result;
use crate::error::Problem;

/// Largest /etc/passwd or /etc/group that is read.
const MAX_BYTES: u64 = 4 << 20;

/// The ids of `user`, `user:group`, `uid`, `uid:gid`. A user alone means the group of the same number,
/// or the user's own group if it is a name.
pub(crate) fn resolve(text: &str, root: &Root) -> Result<(u32, u32)> {
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    let (uid, own_group) = match user.parse() {
        _ if user.is_empty() => (0, 0),
        Ok(uid) => (uid, uid),
        // `:group`.
        Err(_) if user.is_empty() && group.is_some() => (0, 0),
        Err(_) => {
            let fields = look_up(root, "/etc/passwd", user, "user")?;
            let number = |at: usize| fields.get(at).and_then(|field| field.parse::<u32>().ok());
            number(2).zip(number(3)).ok_or_else(|| {
                Problem::new(format!(
                    "the line of user `{user}` in /etc/passwd is malformed"
                ))
            })?
        }
    };
    let gid = match group {
        None => own_group,
        Some(group) => match group.parse() {
            Ok(gid) => gid,
            Err(_) => look_up(root, "/etc/group", group, "group")?
                .get(2)
                .and_then(|field| field.parse().ok())
                .ok_or_else(|| {
                    Problem::new(format!(
                        "the line of group `{group}` in /etc/group is malformed"
                    ))
                })?,
        },
    };
    Ok((uid, gid))
}

fn look_up(root: &Root, file: &str, name: &str, what: &str) -> Result<Vec<String>> {
    let mut text = String::new();
    if let Ok(Some(file)) = root.open_file(file) {
        // What cannot be read names nobody.
        let _ = file.take(MAX_BYTES).read_to_string(&mut text);
    }
    text.lines()
        .map(|line| line.split(':').map(str::to_owned).collect::<Vec<_>>())
        .find(|fields| fields.first().is_some_and(|field| field == name))
        .ok_or_else(|| {
            Problem::new(format!("there is no {what} `{name}` in the image's {file}"))
                .hint("use a number, or create it with a RUN before this line")
        })
}
