//! Servers that cannot do what is asked of their group.

use super::complaint::{Complaints, Word};
use super::draft::{Draft, GroupDraft};

/// Checks backups and warm connections of every group.
pub(crate) fn check(draft: &Draft, complaints: &mut Complaints) {
    for group in &draft.groups {
        only_backups(group, complaints);
        too_warm(draft, group, complaints);
    }
}

/// A backup serves while the others are down: there must be others.
fn only_backups(group: &GroupDraft, complaints: &mut Complaints) {
    if let Some(first) = group.servers.first()
        && group.servers.iter().all(|server| server.backup)
    {
        let text = format!(
            "every server of \"{}\" is a backup, and there is nothing to stand in for: leave \
             `backup` out of one at least",
            group.name.value
        );
        complaints.error(first.at.span.clone(), text);
    }
}

fn too_warm(draft: &Draft, group: &GroupDraft, complaints: &mut Complaints) {
    let Some(warm) = &group.warm else { return };
    let fewest = group.servers.iter().map(|server| group.connections_of(server)).min();
    if let Some(fewest) = fewest.filter(|fewest| warm.value > *fewest) {
        let connections = draft.tongue.name(Word::CONNECTIONS);
        let text = format!(
            "warm = {}: no more can be held open than {connections} allows, {fewest}: lower one \
             or raise the other",
            warm.value
        );
        complaints.error(warm.span.clone(), text);
    }
}
