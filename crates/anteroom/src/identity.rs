//! Who the process is once its addresses are bound: root is given up before the workers start.

use std::ffi::CString;
use std::fs::File;
use std::os::unix::fs::fchown;

use nix::unistd::{Gid, Group, Uid, User, getegid, geteuid, initgroups, setgid, setuid};

use crate::failure::Failure;

/// A user and a group to become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    name: String,
    user: Uid,
    group: Gid,
}

/// Which of the two names is wrong, and the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unknown {
    /// The user's.
    User(String),
    /// The group's.
    Group(String),
}

/// The user of that name or number.
fn user(text: &str) -> Result<User, String> {
    let found = match text.parse() {
        Ok(number) => User::from_uid(Uid::from_raw(number)),
        Err(_) => User::from_name(text),
    };
    let remedy = "this machine has no such user; create it, or name another, as in www-data";
    found.map_err(|error| format!("users cannot be looked up: {error}"))?.ok_or(remedy.to_owned())
}

/// The group of that name or number.
fn gid(text: &str) -> Result<Gid, String> {
    let found = match text.parse() {
        Ok(number) => Group::from_gid(Gid::from_raw(number)),
        Err(_) => Group::from_name(text),
    };
    let remedy = "this machine has no such group; create it, or leave it out for the user's own";
    let found = found.map_err(|error| format!("groups cannot be looked up: {error}"))?;
    found.map(|group| group.gid).ok_or(remedy.to_owned())
}

impl Identity {
    /// Looks up a user and a group by name or number; without a group, it is the user's own.
    ///
    /// # Errors
    /// Which name this machine does not know.
    pub(crate) fn find(name: &str, group: Option<&str>) -> Result<Self, Unknown> {
        let user = user(name).map_err(Unknown::User)?;
        let group = group.map_or(Ok(user.gid), gid).map_err(Unknown::Group)?;
        Ok(Self { name: user.name, user: user.uid, group })
    }

    /// Becomes this user, with the groups it is a member of, for good. To be called when the
    /// addresses are bound and before the workers run. Other threads run already (the disk's, the
    /// names'): the C library changes all of them, which bare system calls would not do. Nothing
    /// happens if the process is that user already.
    ///
    /// # Errors
    /// When only root could do that, or when root could be had back.
    pub(crate) fn assume(&self) -> Result<(), Failure> {
        if (geteuid(), getegid()) == (self.user, self.group) && !geteuid().is_root() {
            return Ok(());
        }
        if !geteuid().is_root() {
            return Err(self
                .failure("only root can become another user; start as root, or leave `user` out"));
        }
        let name = CString::new(self.name.as_str())
            .map_err(|_| self.failure("its name contains a NUL"))?;
        initgroups(&name, self.group)
            .map_err(|error| self.failure(&format!("setgroups: {error}")))?;
        setgid(self.group).map_err(|error| self.failure(&format!("setgid: {error}")))?;
        setuid(self.user).map_err(|error| self.failure(&format!("setuid: {error}")))?;
        if !self.user.is_root() && setuid(Uid::from_raw(0)).is_ok() {
            return Err(self.failure("root could be had back; nothing is served"));
        }
        Ok(())
    }

    /// Gives a file to this user and group, if the process is root now.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn give(&self, file: &File) -> std::io::Result<()> {
        if !geteuid().is_root() {
            return Ok(());
        }
        fchown(file, Some(self.user.as_raw()), Some(self.group.as_raw()))
    }

    /// What it means that this user may not read a file which was read before.
    pub(crate) fn barred(&self) -> String {
        format!(
            "the user {0} may not read it: what it says now holds until the next start, whatever \
             becomes of it; let {0} read it, as by `chgrp` and `chmod g+r`",
            self.name
        )
    }

    fn failure(&self, why: &str) -> Failure {
        Failure::Run(format!("cannot become the user {}: {why}", self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_groups_are_known_by_name_and_number() {
        let root = Identity::find("root", None).unwrap();
        assert_eq!((root.user.as_raw(), root.group.as_raw()), (0, 0));
        assert_eq!(Identity::find("0", Some("root")), Ok(root));
    }

    #[test]
    fn who_is_unknown_is_said() {
        let user = Identity::find("no-such-user-here", None).unwrap_err();
        assert!(matches!(&user, Unknown::User(why) if why.contains("create it")), "{user:?}");
        let group = Identity::find("root", Some("no-such-group-here")).unwrap_err();
        assert!(matches!(&group, Unknown::Group(why) if why.contains("leave it out")), "{group:?}");
        assert!(matches!(Identity::find("", None), Err(Unknown::User(_))));
    }
}
