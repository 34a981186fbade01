//! Users, groups and capabilities.
//!
//! Invariants: `user` is parsed exactly (an id is decimal digits and below the mapped range; `a:b:c`
//! is an error); inheritable and ambient capabilities are always empty (CVE-2022-29162); a user
//! other than root has no capability but the bounding set's.

use rustix::io::Errno;
use rustix::process::{Gid, Uid};
use rustix::thread::{CapabilitiesSecureBits, CapabilitySet, CapabilitySets};

use super::root::Root;
use crate::error::{Failure, Step as _};
use crate::sys;

/// Container ids that exist; the rest is not mapped.
const MAPPED_IDS: u32 = 65_536;

/// Who a process runs as, in container ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// The primary group among them, as in Docker: a process that changes its group id keeps what it
    /// must not do (CVE-2022-36109).
    pub(super) groups: Vec<u32>,
    pub(super) home: String,
}

/// Resolves `user` and `more` groups with the container's /etc/passwd and /etc/group.
pub(super) fn resolve(root: &Root, user: &str, more: &[String]) -> Result<Identity, Failure> {
    let passwd = root.read("/etc/passwd").unwrap_or_default();
    let group = root.read("/etc/group").unwrap_or_default();
    let unknown = |name: &str| Failure::UnknownUser(name.to_owned());
    let mut identity = lookup(user, &passwd, &group).ok_or_else(|| unknown(user))?;
    for name in more {
        let id = group_id(name, &group).ok_or_else(|| unknown(name))?;
        identity.groups.push(id);
    }
    Ok(identity)
}

fn lookup(user: &str, passwd: &str, group: &str) -> Option<Identity> {
    let (name, wanted_group) = match user.split_once(':') {
        Some((name, group)) => (name, Some(group)),
        None => (user, None),
    };
    let name = if name.is_empty() { "0" } else { name };
    let mut entries = passwd.lines().filter_map(PasswdLine::parse);
    let identity = match entries.find(|entry| entry.name == name || entry.uid_text == name) {
        Some(entry) => Identity {
            uid: parse_id(entry.uid_text)?,
            gid: parse_id(entry.gid_text)?,
            groups: if wanted_group.is_none() {
                groups_of(entry.name, group)
            } else {
                Vec::new()
            },
            home: entry.home.to_owned(),
        },
        None => Identity {
            uid: parse_id(name)?,
            gid: 0,
            groups: Vec::new(),
            home: "/".to_owned(),
        },
    };
    let mut identity = match wanted_group {
        None => identity,
        Some(wanted) => Identity {
            gid: group_id(wanted, group)?,
            ..identity
        },
    };
    if !identity.groups.contains(&identity.gid) {
        identity.groups.insert(0, identity.gid);
    }
    Some(identity)
}

struct PasswdLine<'a> {
    name: &'a str,
    uid_text: &'a str,
    gid_text: &'a str,
    home: &'a str,
}

impl<'a> PasswdLine<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let uid_text = fields.nth(1)?;
        let gid_text = fields.next()?;
        let home = fields.nth(1).filter(|home| home.starts_with('/'));
        Some(Self {
            name,
            uid_text,
            gid_text,
            home: home.unwrap_or("/"),
        })
    }
}

/// Name, id and members of a line of /etc/group.
fn group_lines(group: &str) -> impl Iterator<Item = (&str, &str, &str)> {
    group.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        Some((name, fields.nth(1)?, fields.next().unwrap_or("")))
    })
}

fn groups_of(user: &str, group: &str) -> Vec<u32> {
    group_lines(group)
        .filter(|(_, _, members)| members.split(',').any(|member| member == user))
        .filter_map(|(_, id, _)| parse_id(id))
        .collect()
}

fn group_id(wanted: &str, group: &str) -> Option<u32> {
    let found = group_lines(group).find(|(name, id, _)| *name == wanted || *id == wanted);
    parse_id(found.map_or(wanted, |(_, id, _)| id))
}

fn parse_id(text: &str) -> Option<u32> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().filter(|id| *id < MAPPED_IDS)
}

/// From here on files are created as the container's root, with all privileges kept.
pub(crate) fn create_files_as(id_base: u32) -> Result<(), Failure> {
    let step = || "take the container's file-system ids".to_owned();
    rustix::thread::set_capabilities_secure_bits(CapabilitiesSecureBits::NO_SETUID_FIXUP)
        .step(step)?;
    sys::identity::set_fs_ids(id_base, id_base).step(step)
}

/// The bounding set becomes `kept`; needs CAP_SETPCAP.
pub(super) fn limit_capabilities(kept: CapabilitySet) -> Result<(), Failure> {
    for number in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        if kept.contains(capability) {
            continue;
        }
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            // The kernel knows no more capabilities.
            Err(Errno::INVAL) => break,
            Err(error) => return Err(error).step(|| "limit the capabilities".to_owned()),
        }
    }
    Ok(())
}

/// Becomes the user. Capabilities are kept until [`drop_capabilities`].
pub(super) fn become_user(identity: &Identity) -> Result<(), Failure> {
    let step = || format!("become user {}:{}", identity.uid, identity.gid);
    rustix::thread::set_keep_capabilities(true).step(step)?;
    let groups: Vec<Gid> = identity
        .groups
        .iter()
        .map(|id| Gid::from_raw(*id))
        .collect();
    rustix::thread::set_thread_groups(&groups).step(step)?;
    let gid = Gid::from_raw(identity.gid);
    rustix::thread::set_thread_res_gid(gid, gid, gid).step(step)?;
    let uid = Uid::from_raw(identity.uid);
    rustix::thread::set_thread_res_uid(uid, uid, uid).step(step)?;
    rustix::thread::set_keep_capabilities(false).step(step)
}

/// The final sets.
pub(super) fn drop_capabilities(kept: CapabilitySet, uid: u32) -> Result<(), Failure> {
    let step = || "drop capabilities".to_owned();
    rustix::thread::clear_ambient_capability_set().step(step)?;
    let kept = if uid == 0 {
        kept
    } else {
        CapabilitySet::empty()
    };
    let sets = CapabilitySets {
        effective: kept,
        permitted: kept,
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, sets).step(step)
}

/// Parses names such as `CAP_CHOWN`.
pub(super) fn parse_capabilities(names: &[String]) -> Result<CapabilitySet, Failure> {
    let mut set = CapabilitySet::empty();
    for name in names {
        let parsed = name
            .strip_prefix("CAP_")
            .and_then(CapabilitySet::from_name)
            .ok_or_else(|| Failure::Invalid(format!("capability `{name}`")))?;
        set |= parsed;
    }
    Ok(set)
}

#[cfg(test)]
mod tests {
    use super::{Identity, lookup};

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\
        node:x:1000:1000::/home/node:/bin/bash\n\
        bad line\n\
        1234:x:77:78::/seven:/bin/sh\n";
    const GROUP: &str = "root:x:0:\nnode:x:1000:\nvideo:x:44:node,other\naudio:x:29:node\n";

    fn found(user: &str) -> Option<(u32, u32, Vec<u32>, String)> {
        lookup(user, PASSWD, GROUP).map(|identity| {
            let Identity {
                uid,
                gid,
                groups,
                home,
            } = identity;
            (uid, gid, groups, home)
        })
    }

    #[test]
    fn users_are_found_by_name_and_number() {
        let root = Some((0, 0, vec![0], "/root".to_owned()));
        assert_eq!(found(""), root);
        assert_eq!(found("0"), root);
        assert_eq!(found("root"), root);
        let node = Some((1000, 1000, vec![1000, 44, 29], "/home/node".to_owned()));
        assert_eq!(found("node"), node);
        assert_eq!(found("1000"), node);
        assert_eq!(found("4321"), Some((4321, 0, vec![0], "/".to_owned())));
        assert_eq!(found("1234"), Some((77, 78, vec![78], "/seven".to_owned())));
    }

    #[test]
    fn a_group_replaces_the_user_s_groups() {
        let home = "/home/node".to_owned();
        assert_eq!(
            found("node:video"),
            Some((1000, 44, vec![44], home.clone()))
        );
        assert_eq!(found("1000:7"), Some((1000, 7, vec![7], home)));
        assert_eq!(found(":44"), Some((0, 44, vec![44], "/root".to_owned())));
    }

    #[test]
    fn everything_else_is_refused() {
        for user in [
            "nobody-here",
            "node:nogroup",
            "node:video:x",
            "-1",
            "+1",
            "1000 ",
            "65536",
            "4294967296",
            "99999999999999999999",
            "0x10",
            "node:",
            "node:-1",
        ] {
            assert_eq!(found(user), None, "{user}");
        }
    }
}
