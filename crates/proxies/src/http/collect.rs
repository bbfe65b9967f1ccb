//! From a request's first byte to the complete canonical request (laws 2 and 4).

use core::mem;
use core::net::IpAddr;

use exchange::{
    Collected, Exchange, Facts, Refusal, RequestBody, RequestId, RequestIds, Room, Rules, State,
};
use pool::Chain;
use wire::http1::{
    Believed, ChunkReader, Fault, FieldKind, FieldSpace, Forwarding, Full, HeadScanner, Keep,
    Method, Protocol, RequestFraming, RequestHead, Scheme, Version, Writer, finish_chunked_request,
    finish_request, parse_request, write_request,
};

use super::admission::{Admitted, Caller, admit};
use super::body::decode;
use super::head::{find_end, raw_head, replace_head, take_head};
use super::note::note_head;
use super::refuse::{answer_challenge, answer_options};
use super::{PSEUDONYM, limits, upload};

/// See [`exchange::Proxy::collect`].
pub(super) fn collect(exchange: &mut Exchange, fresh: u32, room: &mut Room<'_>) -> Collected {
    match collect_more(exchange, fresh, room) {
        Collected::Complete if exchange.facts.final_recipient => answer_options(exchange, room),
        Collected::Complete => match exchange.facts.challenge.take() {
            Some(place) => answer_challenge(exchange, place, room),
            None => Collected::Complete,
        },
        other => other,
    }
}

fn collect_more(exchange: &mut Exchange, fresh: u32, room: &mut Room<'_>) -> Collected {
    match &mut exchange.state {
        State::Arriving { end: Some(end), .. } => {
            let end = *end;
            head_is_there(exchange, end, room)
        }
        State::Arriving { input, scanner, end } => {
            let found = find_end(input, scanner, room.pool)
                .and_then(|found| within_bounds(scanner, room).map(|()| found));
            match found {
                Err(fault) => refused(fault),
                Ok(None) => Collected::Incomplete { advise: false },
                Ok(Some(length)) => {
                    *end = Some(length);
                    head_is_there(exchange, length, room)
                }
            }
        }
        State::Collecting { .. } => body_grew(exchange, fresh, room),
        State::Ready { .. } | State::Leased { .. } => upload::body_grew(exchange, fresh, room),
        _ => {
            debug_assert!(false, "the request is complete already");
            Collected::Incomplete { advise: false }
        }
    }
}

pub(super) fn refused(fault: Fault) -> Collected {
    Collected::Refused(Refusal::from(fault), Some(fault))
}

/// `max_target` and `max_head`. The first line is measured whether it has ended or not, so that
/// the answer does not depend on how the bytes are cut.
fn within_bounds(scanner: &HeadScanner, room: &Room<'_>) -> Result<(), Fault> {
    let scanned = scanner.scanned();
    // Method, two spaces, version: what a request line may have beside its target.
    let line_max = room.rules.max_target.saturating_add(64);
    if scanner.first_line().unwrap_or(scanned.saturating_sub(scanner.skipped())) > line_max {
        return Err(Fault::TargetTooLong);
    }
    if scanned > room.rules.max_head { Err(Fault::HeadTooLarge) } else { Ok(()) }
}

/// What the parsed head says about the body and the rest of the chain.
struct Plan {
    facts: Facts,
    request_id: RequestId,
    framing: RequestFraming,
    /// Length of the canonical head in the scratch space.
    canonical: usize,
}

/// What comes of a head that is read.
enum Read {
    /// It is gone on with.
    Plan(Plan),
    /// Its client is not let in, or not yet.
    NotLetIn(Plan, Collected),
}

/// The head's end is in the chain: parse, rewrite, and go on with the body.
fn head_is_there(exchange: &mut Exchange, end: u32, room: &mut Room<'_>) -> Collected {
    let State::Arriving { input, scanner, .. } = &mut exchange.state else {
        return Collected::Incomplete { advise: false };
    };
    let plan = match read_head(input, scanner.skipped(), end, room) {
        Ok(plan) => plan,
        Err(fault) => return refused(fault),
    };
    let plan = match plan {
        Read::Plan(plan) => plan,
        Read::NotLetIn(plan, what) => {
            (exchange.facts, exchange.request_id) = (plan.facts, plan.request_id);
            let bodiless = matches!(plan.framing, RequestFraming::None | RequestFraming::Length(0));
            exchange.awaits_verdict(bodiless);
            return what;
        }
    };
    exchange.facts = plan.facts;
    exchange.request_id = plan.request_id;
    let behind_head = input.len() - end;
    if upload::is_streamed(plan.framing, &plan.facts, behind_head, room) {
        return upload::begin(exchange, (end, plan.canonical), plan.framing, room);
    }
    let body = match plan.framing {
        RequestFraming::None => 0,
        RequestFraming::Length(length) => {
            if let Some(refusal) = too_large(length, room) {
                return refusal;
            }
            u32::try_from(length).unwrap_or(u32::MAX).min(behind_head)
        }
        RequestFraming::Chunked => behind_head,
    };
    // All that may fail for want of a buffer comes before anything is changed for good.
    if split_rest(input, end + body, &mut exchange.rest, room).is_none() {
        return Collected::Starved;
    }
    let State::Arriving { input, .. } = &mut exchange.state else {
        return Collected::Starved;
    };
    let canonical = &room.scratch.written[..plan.canonical];
    match plan.framing {
        RequestFraming::None | RequestFraming::Length(_) => {
            if !replace_head(input, end, canonical, room.rank, room.pool) {
                return Collected::Starved;
            }
        }
        RequestFraming::Chunked => {
            let Some(head) = take_head(input, end, canonical, room.rank, room.pool) else {
                return Collected::Starved;
            };
            let body = mem::take(input);
            let reader = RequestBody::Chunked(ChunkReader::new(Keep::Data));
            exchange.head_ends(head, body, reader);
            return body_begins(exchange, behind_head, room);
        }
    }
    let request = mem::take(input);
    let length = match plan.framing {
        RequestFraming::Length(length) => length,
        _ => 0,
    };
    if length == u64::from(body) {
        exchange.request_ends(request);
        return Collected::Complete;
    }
    let reader = RequestBody::Length(length - u64::from(body));
    exchange.head_ends(Chain::new(), request, reader);
    Collected::Incomplete { advise: plan.facts.expects_continue && body == 0 }
}

/// Parses the head and writes it in canonical form into the scratch space; a chunked request's
/// length is still missing there.
fn read_head(input: &Chain, skipped: u32, end: u32, room: &mut Room<'_>) -> Result<Read, Fault> {
    let raw = raw_head(input, end, room.pool, &mut room.scratch.joined)?;
    let mut space = FieldSpace::new();
    let limits = limits(room.rules.max_target);
    let head = parse_request(&raw[skipped as usize..], &limits, &mut space)?;
    let believed = believed(&head, room.rules, room.peer);
    let proto = believed.proto.unwrap_or(if room.tls.is_some() { "https" } else { "http" });
    let mut facts = facts(&head, room.rules.upgrade);
    facts.challenge = challenge(&head, room.rules);
    facts.client = believed.client;
    // A certificate authority has no credentials.
    let admitted = if facts.challenge.is_some() {
        Admitted::FREELY
    } else {
        let peer = believed.client.or(room.peer);
        let caller = Caller { peer, proto, tls: room.tls, admission: room.admission };
        admit(&head, caller, room.rules, &mut room.scratch.written)
    };
    let (subject, granted) = match admitted {
        Admitted::As { subject, fields } => (subject, fields),
        Admitted::Asks(_) | Admitted::Denied(_) => (&b""[..], &b""[..]),
    };
    if let Some(note) = &mut room.note {
        note_head(&head, subject, note);
    }
    passable(&head, proto == "https")?;
    let request_id = request_id(&head, room.rules.request_ids, room.request_ids);
    let plan = |canonical| Plan { facts, request_id, framing: head.framing, canonical };
    match admitted {
        Admitted::As { .. } => {}
        Admitted::Asks(question) => return Ok(Read::NotLetIn(plan(0), Collected::Asks(question))),
        Admitted::Denied(refusal) => {
            return Ok(Read::NotLetIn(plan(0), Collected::Refused(refusal, None)));
        }
    }
    let authorization = room.rules.authorization.as_deref();
    let field = authorization.and_then(|it| it.subject_field.as_deref());
    let mut writer = Writer::new(&mut room.scratch.written);
    let forwarding = Forwarding {
        peer: room.peer,
        proto,
        believed,
        default_host: &room.rules.default_host,
        via: PSEUDONYM,
        persistent: room.rules.upstream_persistent,
        request_id: request_id.get(),
        upgrade: facts.upgrade.as_ref().map(Protocol::name),
        removed: &room.rules.own_fields,
        added: room.rules.subject_field.as_deref().zip(room.tls.and_then(|tls| tls.subject)),
        granted,
        subject: field.zip(Some(subject).filter(|subject| !subject.is_empty())),
        passes_credentials: authorization.is_none_or(|it| it.passes_credentials),
    };
    write_canonical(&mut writer, &head, &forwarding, room.rules.stream.is_some())
        .map_err(|Full| Fault::HeadTooLarge)?;
    let canonical = writer.len();
    Ok(Read::Plan(plan(canonical)))
}

/// What counts of what the request says of its way: something if a trusted proxy sent it.
fn believed<'h>(head: &RequestHead<'h>, rules: &Rules, peer: Option<IpAddr>) -> Believed<'h> {
    match &rules.trusted {
        Some(trusted) if trusted.trusts(peer) => {
            Believed::read(&head.fields, |address| trusted.trusts(Some(address)))
        }
        _ => Believed::NOTHING,
    }
}

/// Refuses what we cannot pass on nor answer.
fn passable(head: &RequestHead<'_>, secured: bool) -> Result<(), Fault> {
    let scheme = if secured { Scheme::Https } else { Scheme::Http };
    if head.target.scheme().is_some_and(|asked| asked != scheme) {
        // It came over TLS and names what is plain, or the other way round, so that it is for
        // somebody else (RFC 9110 §7.4).
        return Err(Fault::SchemeMisdirected);
    }
    if head.method != Method::Trace {
        return Ok(());
    }
    if !matches!(head.framing, RequestFraming::None | RequestFraming::Length(0)) {
        return Err(Fault::TraceWithBody);
    }
    if head.max_forwards == Some(0) {
        // The final recipient may reflect the request, but what it would show is what others
        // put in on the way, credentials among it; so, like most servers, we do not
        // (RFC 9110 §9.3.8).
        return Err(Fault::TraceNotSupported);
    }
    Ok(())
}

/// The client's own if it is the only one and sane, else a new one.
fn request_id(head: &RequestHead<'_>, wanted: bool, ids: &mut RequestIds) -> RequestId {
    if !wanted {
        return RequestId::NONE;
    }
    let mut sent = head.fields.of(FieldKind::RequestId);
    match (sent.next().and_then(RequestId::sane), sent.next()) {
        (Some(id), None) => id,
        _ => ids.make(),
    }
}

fn write_canonical(
    writer: &mut Writer<'_>,
    head: &RequestHead<'_>,
    forwarding: &Forwarding<'_>,
    stream: bool,
) -> Result<(), Full> {
    write_request(writer, head, forwarding)?;
    match head.framing {
        RequestFraming::None => finish_request(writer, None),
        RequestFraming::Length(length) => finish_request(writer, Some(length)),
        RequestFraming::Chunked if stream && !is_final_recipient(head) => {
            finish_chunked_request(writer)
        }
        RequestFraming::Chunked => Ok(()),
    }
}

fn facts(head: &RequestHead<'_>, upgrade: bool) -> Facts {
    Facts {
        upgrade: if upgrade { head.upgrade() } else { None },
        head_only: head.method == Method::Head,
        old_version: head.version == Version::V10,
        persistent: head.persistent,
        idempotent: head.method.is_idempotent(),
        expects_continue: head.expects_continue,
        final_recipient: is_final_recipient(head),
        ..Facts::default()
    }
}

/// Which answer of ours it asks for, if it is a certificate authority's: that is for us before any
/// server, and has no body, so that it is complete with its head.
fn challenge(head: &RequestHead<'_>, rules: &Rules) -> Option<u16> {
    let challenges = rules.challenges.as_ref()?;
    let asks = matches!(head.method, Method::Get | Method::Head);
    let bodiless = matches!(head.framing, RequestFraming::None | RequestFraming::Length(0));
    if asks && bodiless { challenges.find(head.target.path()) } else { None }
}

/// Whether the request may go no further (RFC 9110 §7.6.2).
fn is_final_recipient(head: &RequestHead<'_>) -> bool {
    head.method == Method::Options && head.max_forwards == Some(0)
}

/// Refuses a body that is larger than `max_body`.
fn too_large(length: u64, room: &Room<'_>) -> Option<Collected> {
    (length > room.rules.max_body).then_some(Collected::Refused(Refusal::BodyTooLarge, None))
}

/// Moves what stands behind this request into `rest`: it belongs to the connection.
fn split_rest(input: &mut Chain, at: u32, rest: &mut Chain, room: &mut Room<'_>) -> Option<()> {
    if input.len() > at {
        let excess = room.pool.split(input, at, room.rank).ok()?;
        room.pool.join(rest, excess);
    }
    Some(())
}

/// The first bytes of a chunked body stand behind its head.
fn body_begins(exchange: &mut Exchange, fresh: u32, room: &mut Room<'_>) -> Collected {
    let expects = exchange.facts.expects_continue;
    match body_grew(exchange, fresh, room) {
        Collected::Incomplete { .. } => Collected::Incomplete { advise: expects && fresh == 0 },
        other => other,
    }
}

/// `fresh` more bytes stand at the body's end.
fn body_grew(exchange: &mut Exchange, fresh: u32, room: &mut Room<'_>) -> Collected {
    let State::Collecting { body, reader, .. } = &mut exchange.state else {
        return Collected::Incomplete { advise: false };
    };
    match reader {
        RequestBody::Length(left) => {
            let taken = u64::from(fresh).min(*left);
            *left -= taken;
            if *left > 0 {
                return Collected::Incomplete { advise: false };
            }
            let excess = fresh - u32::try_from(taken).unwrap_or(fresh);
            // The length was written with the head: it is not needed again.
            *reader = RequestBody::Ended { excess, length: 0 };
        }
        RequestBody::Chunked(chunks) => {
            let done = match decode(body, chunks, fresh, room.pool) {
                Ok(done) => done,
                Err(fault) => return refused(fault),
            };
            let length = chunks.data_len();
            // A chunk is refused when it is announced, not when it has come.
            let announced = length.saturating_add(chunks.remaining_in_chunk());
            if let Some(refusal) = too_large(announced, room) {
                return refusal;
            }
            let Some(excess) = done else {
                return Collected::Incomplete { advise: false };
            };
            exchange.facts.trailer_bytes = chunks.trailer_bytes();
            *reader = RequestBody::Ended { excess, length };
        }
        RequestBody::Ended { .. } => {}
    }
    body_ended(exchange, room)
}

/// The body has ended: cut off what follows, complete the head, join both.
fn body_ended(exchange: &mut Exchange, room: &mut Room<'_>) -> Collected {
    let State::Collecting { head, body, reader: RequestBody::Ended { excess, length } } =
        &mut exchange.state
    else {
        return Collected::Incomplete { advise: false };
    };
    let at = body.len() - *excess;
    if split_rest(body, at, &mut exchange.rest, room).is_none() {
        return Collected::Starved;
    }
    *excess = 0;
    // (A chain may hold buffers and no byte.)
    if exchange.spooled.is_some() && at > 0 {
        return Collected::Spool;
    }
    if !head.is_empty() {
        let mut writer = Writer::new(&mut room.scratch.written);
        // 64 KiB of scratch hold a length field.
        if finish_request(&mut writer, Some(*length)).is_err() {
            return refused(Fault::HeadTooLarge);
        }
        let length = writer.len();
        let field = &room.scratch.written[..length];
        if room.pool.append(head, field, room.rank).is_err() {
            return Collected::Starved;
        }
    }
    let mut request = mem::take(head);
    let body = mem::take(body);
    room.pool.join(&mut request, body);
    exchange.request_ends(request);
    Collected::Complete
}
