//! A client's part in a tunnel, or in a connection that is passed through.

use base::time::Instant;

use super::book::{Fate, Record, What};
use super::line::Line;
use super::oracle::may_turn_away;
use super::outbox::Cut;
use super::parting::{self, Parted};
use super::stage::{Stage, Verdict, wrong};
use super::tunnel::{End, Side, Speech};

impl Line {
    /// Whether something is awaited on it.
    pub(super) fn is_busy(&self) -> bool {
        !self.awaits.is_empty() || self.speech.is_some()
    }

    /// Whether no further request may follow: a tunnel is asked for, or there is one.
    pub(super) const fn is_in_tunnel(&self) -> bool {
        self.offers.is_some() || self.speech.is_some()
    }

    /// A request was put down that may ask for a tunnel.
    pub(super) fn offer(&mut self, stage: &mut Stage, number: u32) {
        let record = stage.book.get(number);
        let What::Asked(ask, _) = &record.what else { return };
        let Some(talk) = ask.talk.clone() else { return };
        let end = End::new(Side::Client, record.group, Some(number), stage.now());
        let end = End { from: Some(record.through), ..end };
        let me = stage.begins(end);
        stage.book.get_mut(number).ends[0] = Some(me);
        let mut speech = Speech::new(me, talk, self.outbox.end());
        if speech.is_early() {
            speech.pour(&mut self.outbox);
        }
        self.offers = Some(speech);
    }

    /// The connection is passed through from its first byte on.
    pub(super) fn pass(&mut self, stage: &mut Stage, record: Record) {
        let What::Passed(talk) = &record.what else { return };
        let (talk, group, from, now) = (talk.clone(), record.group, record.through, stage.now());
        let number = stage.book.enter(record);
        let record = stage.book.get_mut(number);
        (record.began, record.complete) = (Some(now), Some(now));
        let end = End::new(Side::Client, group, None, now);
        let me = stage.begins(End { from: Some(from), ..end });
        stage.book.get_mut(number).ends[0] = Some(me);
        stage.world.note(|| {
            let what = &stage.book.get(number).what;
            format!("connection {} is end {me} of {number}: {what:?}", self.peer.number())
        });
        let mut speech = Speech::new(me, talk, self.outbox.end());
        speech.stalled_for(self.stalled, stage);
        speech.pour(&mut self.outbox);
        self.speech = Some(speech);
        self.awaits.push_back(number);
    }

    /// 101 came: what follows is of another protocol.
    pub(super) fn switches(&mut self, stage: &mut Stage, now: Instant) -> Verdict {
        let Some(number) = self.awaits.pop_front() else {
            return wrong("tunnel", "a switch that nobody asked for");
        };
        let Some(mut speech) = self.offers.take() else {
            return wrong("tunnel", format!("101 to {number}, which did not ask for it"));
        };
        stage.settle(number, Fate::Switched);
        self.answered = true;
        stage.ends[speech.me].listened = now;
        speech.stalled_for(self.stalled, stage);
        speech.pour(&mut self.outbox);
        self.speech = Some(speech);
        self.has_written(stage);
        self.hear(stage)
    }

    /// Its request was answered otherwise. Whether it has said what nobody understands now: then it
    /// leaves.
    pub(super) fn spoke_too_early(&mut self, stage: &Stage, number: u32) -> bool {
        let asked = stage.book.get(number).ends[0];
        let offers = self.offers.take_if(|speech| asked == Some(speech.me));
        let too_early = offers.is_some_and(|speech| speech.is_early());
        if too_early {
            self.outbox.clear();
            self.inbox.clear();
            self.leaves = Some((self.taken, Cut::Close));
        }
        too_early
    }

    /// It has written so much.
    pub(super) fn has_written(&self, stage: &mut Stage) {
        if let Some(speech) = self.speech.as_ref().or(self.offers.as_ref()) {
            speech.has_written(self.outbox.written(), &self.peer, stage);
        }
    }

    /// It hears what came.
    pub(super) fn hear(&mut self, stage: &mut Stage) -> Verdict {
        let Some(speech) = &mut self.speech else { return Ok(()) };
        if self.peer.stirs() {
            parting::stirs(speech.me, stage);
        }
        let heard = speech.hear(&self.inbox, stage);
        self.inbox.clear();
        heard
    }

    /// Whether the tunnel is over because the other side says so; if so, whether it might.
    pub(super) fn is_parted(&mut self, stage: &mut Stage) -> Verdict<bool> {
        if self.stalls.is_some() && !self.peer.is_reset() {
            return Ok(false);
        }
        if self.peer.is_shaking() || self.is_refused(stage) {
            return self.is_left_unsecured(stage);
        }
        let Some(speech) = &self.speech else { return Ok(false) };
        let Some(parted) = speech.looks(&self.peer, stage)? else { return Ok(false) };
        stage.world.note(|| format!("end {} is parted: {parted:?}", speech.me));
        if parted == Parted::Unheard {
            self.may_be_unheard(stage)?;
        }
        let over = parted != Parted::Ended || self.peer.is_reset();
        if over {
            self.settles(Some(parted), stage);
        } else {
            self.has_said_all(stage);
        }
        Ok(over)
    }

    /// Whether its handshake is over, and in vain; if so, whether it might.
    fn is_left_unsecured(&mut self, stage: &mut Stage) -> Verdict<bool> {
        if !self.peer.is_reset() && !self.peer.has_ended() && !self.peer.has_failed() {
            return Ok(false);
        }
        self.is_shown_what_holds(stage)?;
        self.may_be_unheard(stage)?;
        self.settles(Some(Parted::Unheard), stage);
        Ok(true)
    }

    /// Whether nobody may have been found for it.
    fn may_be_unheard(&self, stage: &Stage) -> Verdict {
        let Some(&number) = self.awaits.front() else { return Ok(()) };
        // It left without a word.
        let said = self.speech.as_ref().is_some_and(|speech| stage.ends[speech.me].said > 0);
        if self.ended && !said {
            return Ok(());
        }
        let (record, at) = (stage.book.get(number), self.standing(stage));
        may_turn_away(record, stage, at)
            .or_else(|text| wrong("tunnel", format!("{number} is cut off, but {text}: {at:?}")))
    }

    /// Everything is written: perhaps its direction ends now.
    pub(super) fn has_said_all(&mut self, stage: &mut Stage) {
        let Some(speech) = &self.speech else { return };
        if self.outbox.is_empty() && speech.ends_now(stage) {
            self.end(stage);
        }
    }

    /// Its direction ends.
    pub(super) fn ends_talk(&self, stage: &mut Stage) {
        if let Some(speech) = self.speech.as_ref().or(self.offers.as_ref()) {
            speech.leaves(Cut::End, false, stage);
        }
    }

    /// It breaks off.
    pub(super) fn breaks_off(&mut self, stage: &mut Stage, cut: Cut) {
        let Some(speech) = self.speech.take() else { return };
        speech.leaves(cut, self.peer.resets_by_closing(), stage);
        self.has_written(stage);
        let fate = if stage.ends[speech.me].other.is_some() { Fate::Passed } else { Fate::Left };
        for number in std::mem::take(&mut self.awaits) {
            stage.settle(number, fate);
        }
    }

    /// Whether both directions have ended: then it settles what that was.
    pub(super) fn is_over(&mut self, stage: &mut Stage) -> bool {
        let over = self.speech.as_ref().is_some_and(|speech| speech.is_over(stage));
        if over {
            self.settles(None, stage);
        }
        over
    }

    fn settles(&mut self, parted: Option<Parted>, stage: &mut Stage) {
        let Some(speech) = self.speech.take() else { return };
        self.answered |= stage.ends[speech.me].other.is_some();
        for number in std::mem::take(&mut self.awaits) {
            let fate = speech.fate(parted, stage);
            stage.settle(number, fate);
        }
    }
}
