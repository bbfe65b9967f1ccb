//! A server's part in a tunnel, or in a connection that is passed through.

use base::time::Instant;

use super::client::earlier;
use super::outbox::{Cut, Pace, Wrote};
use super::parting::{self, Parted};
use super::server::{READS_ON, Session};
use super::stage::{Stage, Verdict, wrong};
use super::tunnel::{End, Side, Speech, Talk};

impl Session {
    /// From here on it says this.
    pub(super) fn talks(&mut self, talk: Talk, request: Option<u32>, stage: &mut Stage) {
        let me = stage.begins(End::new(Side::Server, self.group, request, stage.now()));
        stage.world.note(|| format!("session {} is end {me}: {talk:?}", self.peer.number()));
        if let Some(number) = request {
            let ends = &mut stage.book.get_mut(number).ends;
            ends[1] = Some(me);
            if let Some(other) = ends[0] {
                stage.join(me, other);
            }
        }
        let mut speech = Speech::new(me, talk, self.outbox.end());
        speech.pour(&mut self.outbox);
        self.speech = Some(speech);
    }

    /// Does what it can once it is an end of a tunnel, or will be when it has said so.
    pub(super) fn act_in_tunnel(&mut self, stage: &mut Stage) -> Verdict<Option<Instant>> {
        let (now, calm) = (stage.now(), stage.is_calm());
        if calm {
            self.outbox.calm_down();
            self.outbox.hurry();
        }
        let again = self.listens(stage)?;
        if self.is_parted(stage)? {
            return Ok(None);
        }
        let pace = if calm { Pace::FREE } else { self.pace };
        let wrote = self.outbox.write(&mut self.peer, pace, now);
        self.has_said_more(stage);
        match wrote {
            Wrote::Until(moment) => return Ok(earlier(again, Some(moment))),
            Wrote::Cut(Cut::End) => self.ends_talk(stage),
            Wrote::Cut(cut) => {
                self.fails(stage);
                self.leave(stage, cut);
                return Ok(None);
            }
            Wrote::All if self.speech.as_ref().is_some_and(|it| it.ends_now(stage)) => {
                self.ends_talk(stage);
            }
            Wrote::All | Wrote::Full => {}
        }
        if self.speech.as_ref().is_some_and(|speech| speech.is_over(stage)) {
            self.parts(stage);
            return Ok(None);
        }
        Ok(again)
    }

    /// Listens, unless it does not for a while. Until when, if there is more then.
    fn listens(&mut self, stage: &mut Stage) -> Verdict<Option<Instant>> {
        let Some(speech) = &mut self.speech else { return Ok(None) };
        if let Some(until) = speech.stalls(stage) {
            return Ok(Some(until));
        }
        let most = speech.most(self.reads, stage);
        self.peer.read_into(&mut self.inbox, most);
        let request = stage.ends[speech.me].request;
        if request.is_some_and(|number| stage.book.get(number).failed) {
            // It has switched too early: this is the rest of the request.
            self.inbox.clear();
        }
        if !self.inbox.is_empty() && self.outbox.written() < speech.base {
            let heard = self.inbox.escape_ascii();
            return wrong("tunnel", format!("{heard} comes before protocols are switched"));
        }
        if self.peer.stirs() {
            parting::stirs(speech.me, stage);
        }
        let heard = speech.hear(&self.inbox, stage);
        self.inbox.clear();
        heard?;
        Ok((self.peer.unread() > 0).then(|| stage.now() + READS_ON))
    }

    /// It has written more: perhaps all that switches protocols.
    fn has_said_more(&mut self, stage: &mut Stage) {
        let Some(speech) = &self.speech else { return };
        speech.has_written(self.outbox.written(), &self.peer, stage);
        let now = stage.now();
        if let Some((number, _)) = self.answers
            && self.outbox.written() >= speech.base
        {
            self.answers = None;
            // Here it begins.
            let end = &mut stage.ends[speech.me];
            (end.before, end.spoke, end.listened) = (now, now, now);
            let record = stage.book.get_mut(number);
            record.is_served(now);
            (record.answered, record.said_101) = (Some(now), true);
            stage.pins[self.server.index()] += 1;
            self.lets_go(stage);
        }
    }

    /// It breaks off. What it has said so far may be lost, that protocols are switched, too.
    pub(super) fn takes_back(&self, cut: Cut, stage: &mut Stage) {
        let end = self.speech.as_ref().and_then(|speech| stage.ends[speech.me].request);
        let Some(record) = end.map(|number| stage.book.get_mut(number)) else { return };
        if record.fate.is_none() {
            record.failed = true;
            if cut != Cut::Close {
                record.answered = None;
            }
        }
    }

    fn ends_talk(&mut self, stage: &mut Stage) {
        let Some(speech) = &self.speech else { return };
        if stage.ends[speech.me].ended.is_none() {
            speech.leaves(Cut::End, false, stage);
            self.leaves_shaking(stage);
            if !self.peer.is_polite() {
                // Whoever does not say that it was all may have been cut off.
                stage.ends[speech.me].broke = true;
                self.takes_back(Cut::Close, stage);
            }
            self.peer.end();
        }
    }

    /// Whether the other side has left; if so, whether it might.
    fn is_parted(&mut self, stage: &mut Stage) -> Verdict<bool> {
        let Some(speech) = &self.speech else { return Ok(false) };
        let Some(parted) = speech.looks(&self.peer, stage)? else { return Ok(false) };
        stage.world.note(|| format!("end {} is parted: {parted:?}", speech.me));
        let over = parted != Parted::Ended || self.peer.is_reset();
        if over {
            self.parts(stage);
        }
        Ok(over)
    }

    /// It is over, and was as it should be.
    fn parts(&mut self, stage: &Stage) {
        stage.world.note(|| format!("session {}: is over", self.peer.number()));
        self.over = true;
    }
}
