//! Addresses that are banned for a while, by whoever reaches the admin endpoints. They live as long
//! as the process.

use std::sync::Arc;
use std::time::Duration;

use base::limits;
use proxies::security::{AccessList, IpNet, Verdict};
use serde::Serialize;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::oneshot::Sender;
use tokio::time::Instant;

use crate::crew::Crew;
use crate::figures::Panel;
use crate::log;
use crate::quantity::Length;

/// Most wishes that are granted at once.
const WISHES: usize = 1024;

/// What is asked for, and where the answer goes.
#[derive(Debug)]
pub(crate) enum BanWish {
    /// Ban these, for so long or until they are lifted. False if there is no room.
    Add(Vec<IpNet>, Option<Duration>, Sender<bool>),
    /// Lift the bans of these. False if one of them is not banned.
    Lift(Vec<IpNet>, Sender<bool>),
    /// Tell all.
    Tell(Sender<Vec<ToldBan>>),
}

/// A ban as it is told.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct ToldBan {
    address: String,
    /// Left out if it holds until it is lifted.
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds_left: Option<u64>,
}

/// All bans, and who asks for them.
pub(crate) struct Bans {
    entries: Vec<(IpNet, Option<Instant>)>,
    wishes: UnboundedReceiver<BanWish>,
}

impl Bans {
    /// Nobody is banned.
    pub(crate) const fn new(wishes: UnboundedReceiver<BanWish>) -> Self {
        Self { entries: Vec::new(), wishes }
    }

    /// Waits for wishes, or until a ban ends, and changes what holds. True if that is another set
    /// of addresses now: once for all that was wished meanwhile. Nothing is lost if it is not waited for
    /// to the end.
    pub(crate) async fn changed(&mut self) -> bool {
        let ends = self.entries.iter().filter_map(|(_, until)| *until).min();
        let end = async {
            match ends {
                Some(moment) => tokio::time::sleep_until(moment).await,
                None => std::future::pending().await,
            }
        };
        let mut wish = tokio::select! {
            biased;
            wish = self.wishes.recv() => wish,
            () = end => None,
        };
        let now = Instant::now();
        let mut changed = self.end(now);
        for _ in 0..WISHES {
            let Some(next) = wish else { break };
            changed |= self.grant(next, now);
            wish = self.wishes.try_recv().ok();
        }
        changed
    }

    /// Does what is wished. Whoever asked may have gone; it is done all the same. True if another set of
    /// addresses is banned then.
    fn grant(&mut self, wish: BanWish, now: Instant) -> bool {
        match wish {
            BanWish::Add(nets, length, told) => {
                let added = self.add(&nets, length, now);
                if added {
                    note(&nets, length);
                }
                let _ = told.send(added);
                added
            }
            BanWish::Lift(nets, told) => {
                let lifted = self.lift(&nets);
                for net in nets.iter().filter(|_| lifted) {
                    log::note(format_args!("{net} is banned no longer"));
                }
                let _ = told.send(lifted);
                lifted
            }
            BanWish::Tell(told) => {
                let _ = told.send(self.tell(now));
                false
            }
        }
    }

    /// Tells the workers.
    pub(crate) fn enforce(&self, crew: &mut Crew, panel: &Panel) {
        panel.banned(self.entries.len());
        crew.ban(&Arc::new(self.list()));
    }

    fn add(&mut self, nets: &[IpNet], length: Option<Duration>, now: Instant) -> bool {
        let fresh = nets.iter().filter(|net| !self.entries.iter().any(|(had, _)| had == *net));
        if self.entries.len() + fresh.count() > limits::BANS_MAX {
            return false;
        }
        let until = length.map(|length| now + length);
        self.entries.retain(|(net, _)| !nets.contains(net));
        self.entries.extend(nets.iter().map(|net| (*net, until)));
        true
    }

    fn lift(&mut self, nets: &[IpNet]) -> bool {
        let all = nets.iter().all(|net| self.entries.iter().any(|(had, _)| had == net));
        if all {
            self.entries.retain(|(net, _)| !nets.contains(net));
        }
        all
    }

    /// Ends the bans whose time is over. True if there were any.
    fn end(&mut self, now: Instant) -> bool {
        let before = self.entries.len();
        self.entries.retain(|(_, until)| until.is_none_or(|until| now < until));
        self.entries.len() < before
    }

    fn tell(&self, now: Instant) -> Vec<ToldBan> {
        let told = |(net, until): &(IpNet, Option<Instant>)| ToldBan {
            address: net.to_string(),
            seconds_left: until.map(|until| until.saturating_duration_since(now).as_secs()),
        };
        self.entries.iter().map(told).collect()
    }

    fn list(&self) -> AccessList {
        let entries: Vec<_> = self.entries.iter().map(|(net, _)| (*net, Verdict::Deny)).collect();
        AccessList::new(&entries, Verdict::Allow)
    }
}

/// Tells the operator.
fn note(nets: &[IpNet], length: Option<Duration>) {
    for net in nets {
        match length {
            Some(length) => log::note(format_args!("{net} is banned for {}", Length(length))),
            None => log::note(format_args!("{net} is banned until that is lifted")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc::unbounded_channel;
    use tokio::sync::oneshot::channel;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn bans_end_by_themselves_or_are_lifted() {
        let (wish, wishes) = unbounded_channel();
        let mut bans = Bans::new(wishes);
        let (told, _) = channel();
        wish.send(BanWish::Add(vec![net("10.0.0.0/8")], Some(Duration::from_mins(1)), told))
            .unwrap();
        assert!(bans.changed().await);
        let (told, answer) = channel();
        wish.send(BanWish::Add(vec![net("::1/128")], None, told)).unwrap();
        assert!(bans.changed().await && answer.await.unwrap());
        let verdict = |bans: &Bans, address: &str| bans.list().verdict(address.parse().unwrap());
        assert_eq!(verdict(&bans, "10.1.1.1"), Verdict::Deny);
        let (told, answer) = channel();
        wish.send(BanWish::Tell(told)).unwrap();
        assert!(!bans.changed().await, "telling changes nothing");
        let told = serde_json::to_string(&answer.await.unwrap()).unwrap();
        let expected = r#"[{"address":"10.0.0.0/8","seconds_left":60},{"address":"::1/128"}]"#;
        assert_eq!(told, expected);
        // The clock of the test moves when nobody has anything else to do.
        assert!(bans.changed().await, "the first one ended");
        assert_eq!(verdict(&bans, "10.1.1.1"), Verdict::Allow);
        assert_eq!(verdict(&bans, "::1"), Verdict::Deny);
        for (lifted, changes) in [("10.0.0.0/8", false), ("::1/128", true), ("::1/128", false)] {
            let (told, answer) = channel();
            wish.send(BanWish::Lift(vec![net(lifted)], told)).unwrap();
            assert_eq!(bans.changed().await, changes);
            assert_eq!(answer.await.unwrap(), changes);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn wishes_are_granted_together_and_a_ban_that_ended_counts_with_them() {
        let (wish, wishes) = unbounded_channel();
        let mut bans = Bans::new(wishes);
        let add = |nets: &[&str], length| {
            let (told, answer) = channel();
            let nets = nets.iter().map(|text| net(text)).collect();
            wish.send(BanWish::Add(nets, length, told)).unwrap();
            answer
        };
        let short = Some(Duration::from_secs(5));
        let answers =
            [add(&["10.0.0.1/32"], short), add(&["10.0.0.2/32"], None), add(&["::/0"], None)];
        assert!(bans.changed().await && bans.wishes.is_empty());
        for answer in answers {
            assert!(answer.await.unwrap());
        }
        // No wish is granted, and one ban is over: that is another set, too.
        let most = u32::try_from(limits::BANS_MAX).unwrap();
        let many =
            (3..most).map(|number| IpNet::from(std::net::IpAddr::from(number.to_be_bytes())));
        bans.entries.extend(many.map(|net| (net, None)));
        tokio::time::advance(Duration::from_secs(5)).await;
        let refused = add(&["192.0.2.1/32", "192.0.2.2/32"], None);
        assert!(bans.changed().await && !refused.await.unwrap());
    }

    #[test]
    fn there_is_room_for_so_many_and_a_ban_may_be_renewed() {
        let (_wish, wishes) = unbounded_channel();
        let mut bans = Bans::new(wishes);
        let now = Instant::now();
        let many: Vec<IpNet> = (0..u32::try_from(limits::BANS_MAX).unwrap())
            .map(|number| IpNet::from(std::net::IpAddr::from(number.to_be_bytes())))
            .collect();
        assert!(bans.add(&many, None, now));
        assert!(!bans.add(&[net("::1/128")], None, now));
        assert!(bans.add(&many[..1], Some(Duration::from_secs(5)), now), "it is there already");
        assert_eq!(bans.entries.len(), limits::BANS_MAX);
        assert!(bans.end(now + Duration::from_secs(5)));
        assert!(bans.add(&[net("::1/128")], None, now));
    }
}
