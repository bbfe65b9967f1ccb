//! Where connections go that are passed through: to one group, or to that of the name which their
//! TLS hello asks for.

use alloc::boxed::Box;
use alloc::vec::Vec;

use base::id::GroupId;

/// What holds for connections that are passed through.
#[derive(Clone, Debug, Default)]
pub struct Passing {
    /// The server is connected to when the client's first byte has come, not before.
    pub first_byte: bool,
    /// The group that a name leads to, where TLS hellos are read.
    pub names: Option<Names>,
}

impl Passing {
    /// Whether the server is connected to before the client has said anything.
    pub const fn at_once(&self) -> bool {
        !self.first_byte && self.names.is_none()
    }
}

/// Names and the groups they lead to.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// In lower case, without `*`; sorted, so that they are found by halving.
    exact: Vec<(Box<str>, GroupId)>,
    /// What follows the `*` of `*.example`, the dot included; the longest first.
    endings: Vec<(Box<str>, GroupId)>,
    /// Where all others go; nowhere if there is none.
    otherwise: Option<GroupId>,
}

impl Names {
    /// These patterns: a name, or `*.` and the end of names. `otherwise` takes what none fits.
    pub fn new<'p>(
        patterns: impl IntoIterator<Item = (&'p str, GroupId)>,
        otherwise: Option<GroupId>,
    ) -> Self {
        let mut names = Self { otherwise, ..Self::default() };
        for (pattern, group) in patterns {
            let lower = pattern.to_ascii_lowercase();
            match lower.strip_prefix('*') {
                Some(ending) => names.endings.push((ending.into(), group)),
                None => names.exact.push((lower.into(), group)),
            }
        }
        names.exact.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        names.endings.sort_by_key(|(ending, _)| core::cmp::Reverse(ending.len()));
        names
    }

    /// The group for a hello that asks for this name, or for none.
    pub fn group(&self, name: Option<&str>) -> Option<GroupId> {
        name.and_then(|name| self.named(name)).or(self.otherwise)
    }

    fn named(&self, name: &str) -> Option<GroupId> {
        let lower = || name.bytes().map(|byte| byte.to_ascii_lowercase());
        let exact = self.exact.binary_search_by(|(known, _)| known.bytes().cmp(lower()));
        if let Ok(place) = exact {
            return self.exact.get(place).map(|&(_, group)| group);
        }
        let ends = |ending: &str| {
            let start = name.len().checked_sub(ending.len()).filter(|&start| start > 0);
            let end = start.and_then(|start| name.as_bytes().get(start..));
            end.is_some_and(|end| end.eq_ignore_ascii_case(ending.as_bytes()))
        };
        self.endings.iter().find(|(ending, _)| ends(ending)).map(|&(_, group)| group)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closest_name_decides() {
        let patterns = [
            ("A.example", GroupId(1)),
            ("*.example", GroupId(2)),
            ("*.b.example", GroupId(3)),
            ("c.b.example", GroupId(4)),
        ];
        let names = Names::new(patterns, Some(GroupId(0)));
        let table = [
            (Some("a.example"), 1),
            (Some("a.EXAMPLE"), 1),
            (Some("x.example"), 2),
            (Some("x.a.example"), 2),
            (Some("x.b.Example"), 3),
            (Some("c.b.example"), 4),
            (Some("b.example"), 2),
            (Some(".example"), 0),
            (Some("example"), 0),
            (Some("notexample"), 0),
            (None, 0),
        ];
        for (name, group) in table {
            assert_eq!(names.group(name), Some(GroupId(group)), "{name:?}");
        }
        let names = Names::new(patterns, None);
        assert_eq!(names.group(Some("elsewhere")), None);
        assert_eq!(names.group(None), None);
    }
}
