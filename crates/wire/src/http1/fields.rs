//! Field lines (RFC 9112 §5), each with what it means to a proxy.

use arrayvec::ArrayVec;

use super::bytes::{VALUE, all, elements, is_token, short, trim};
use super::fault::Fault;

/// Most field lines of a head, whatever [`super::Limits`] allows.
pub const MAX_FIELDS: usize = 128;

/// Most options that `Connection` may list: it bounds what comparing them with the fields costs.
pub const MAX_OPTIONS: usize = 32;

/// Longest head whose fields can be parsed: positions in it are kept in 16 bits.
pub const HEAD_MAX: u32 = 1 << 16;

/// One field line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'h> {
    /// The name as it was spelled: a token.
    pub name: &'h [u8],
    /// The value without the white space around it: no control byte but HTAB; obs-text allowed.
    pub value: &'h [u8],
    /// What the field means to a proxy.
    pub kind: FieldKind,
}

/// What a field means to a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FieldKind {
    /// Of no concern: passed on in its place and spelling.
    EndToEnd,
    /// `Host` (RFC 9110 §7.2).
    Host,
    /// `Content-Length` (RFC 9110 §8.6).
    ContentLength,
    /// `Transfer-Encoding` (RFC 9112 §6.1).
    TransferEncoding,
    /// `Connection` (RFC 9110 §7.6.1).
    Connection,
    /// `Upgrade` (RFC 9110 §7.8).
    Upgrade,
    /// `Expect` (RFC 9110 §10.1.1).
    Expect,
    /// `Via` (RFC 9110 §7.6.3).
    Via,
    /// `Date` (RFC 9110 §6.6.1).
    Date,
    /// `Trailer`: what a chunked body's trailers will be (RFC 9110 §6.6.2).
    Trailer,
    /// `Max-Forwards` (RFC 9110 §7.6.2).
    MaxForwards,
    /// `X-Request-ID`: by what name logs know the request. A `_` counts as `-`, as in
    /// [`Self::Forwarding`].
    RequestId,
    /// `X-Accel-Buffering`: in a response it tells the proxy whether to hold the body back, which
    /// we never do; in a request it is of no concern.
    AccelBuffering,
    /// Another field for the next hop only: `Keep-Alive`, `Proxy-Connection`, `TE` and those of
    /// proxy authentication.
    HopByHop,
    /// What a trusted proxy tells of the client: `Forwarded` (RFC 7239) and `X-Forwarded-*`.
    /// A `_` counts as `-` here, because CGI and its heirs make no difference between them.
    Forwarding,
    /// A field that would be passed on, if `Connection` did not name it, so that it is for the
    /// next hop only.
    Nominated,
}

/// Where the fields of one head are listed while it is looked at: its reader's, so that the head
/// itself stays small enough to be handed around.
#[derive(Debug, Default)]
pub struct FieldSpace(ArrayVec<Line, MAX_FIELDS>);

impl FieldSpace {
    /// Space for the fields of any head.
    pub const fn new() -> Self {
        Self(ArrayVec::new_const())
    }
}

/// The fields of a head, in their order.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'h> {
    section: &'h [u8],
    lines: &'h [Line],
    /// One bit for each kind that occurs, so that rare kinds cost no search.
    present: u32,
}

/// Where a field stands in its section.
#[derive(Clone, Copy, Debug)]
struct Line {
    name: [u16; 2],
    value: [u16; 2],
    kind: FieldKind,
}

const _: () = assert!(MAX_FIELDS <= u128::BITS as usize, "a bit for each line");

/// Most heads have fewer fields than this; they are parsed in less space.
const USUAL_FIELDS: usize = 24;

impl<'h> Fields<'h> {
    /// Parses all field lines of a head and the empty line that ends it.
    pub(super) fn parse(
        section: &'h [u8],
        most: u16,
        space: &'h mut FieldSpace,
    ) -> Result<Self, Fault> {
        if section.len() >= HEAD_MAX as usize {
            return Err(Fault::HeadTooLarge);
        }
        // The parser takes a CR for nothing but the first half of CRLF, so that as many CR as LF
        // means no LF without CR, which it would let pass.
        let count = memchr::memchr_iter(b'\n', section).count();
        if memchr::memchr_iter(b'\r', section).count() != count {
            return Err(diagnosis(section));
        }
        if count > usize::from(most).min(MAX_FIELDS) + 1 {
            return Err(Fault::TooManyFields);
        }
        let lines = &mut space.0;
        lines.clear();
        let mut present = if count <= USUAL_FIELDS + 1 {
            read::<USUAL_FIELDS>(section, lines)?
        } else {
            read::<MAX_FIELDS>(section, lines)?
        };
        let nominated = Fields { section, lines, present }.nominated()?;
        if nominated != 0 {
            present = 0;
            for (place, line) in lines.iter_mut().enumerate() {
                if nominated >> place & 1 == 1 {
                    line.kind = FieldKind::Nominated;
                }
                present |= line.kind.bit();
            }
        }
        Ok(Self { section, lines, present })
    }

    /// All fields in their order.
    pub fn iter(&self) -> impl Iterator<Item = Field<'h>> {
        let section = self.section;
        self.lines.iter().map(|line| line.field(section))
    }

    /// How many field lines there are.
    pub fn len(&self) -> u32 {
        short(self.lines.len())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Whether a field of this kind occurs.
    pub const fn has(&self, kind: FieldKind) -> bool {
        self.present & kind.bit() != 0
    }

    /// The values of the fields of this kind.
    pub fn of(&self, kind: FieldKind) -> impl Iterator<Item = &'h [u8]> {
        let section = self.section;
        let lines = if self.has(kind) { self.lines } else { &[] };
        let found = lines.iter().filter(move |line| line.kind == kind);
        found.map(|line| line.field(section).value)
    }

    /// The value of the first field with this name.
    pub fn named(&self, name: &str) -> Option<&'h [u8]> {
        let found = self.iter().find(|field| field.name.eq_ignore_ascii_case(name.as_bytes()));
        found.map(|field| field.value)
    }

    /// Whether `Connection` lists this option (RFC 9110 §7.6.1).
    pub(super) fn has_option(&self, option: impl AsRef<[u8]>) -> bool {
        self.options().any(|listed| listed.eq_ignore_ascii_case(option.as_ref()))
    }

    /// What `Connection` lists, empty elements included.
    pub(super) fn options(&self) -> impl Iterator<Item = &'h [u8]> {
        self.of(FieldKind::Connection).flat_map(elements)
    }

    /// Which lines `Connection` names, a bit for each.
    fn nominated(&self) -> Result<u128, Fault> {
        if !self.has(FieldKind::Connection) {
            return Ok(0);
        }
        let mut options = ArrayVec::<&[u8], MAX_OPTIONS>::new();
        for option in self.options() {
            options.try_push(option).map_err(|_| Fault::TooManyOptions)?;
        }
        let mut nominated = 0;
        for (place, line) in self.lines.iter().enumerate() {
            let name = line.field(self.section).name;
            let named = || options.iter().any(|option| option.eq_ignore_ascii_case(name));
            if line.kind.can_be_nominated() && named() {
                nominated |= 1 << place;
            }
        }
        Ok(nominated)
    }
}

/// Lists all field lines of a section; the kinds that occur, a bit for each.
fn read<const ROOM: usize>(
    section: &[u8],
    lines: &mut ArrayVec<Line, MAX_FIELDS>,
) -> Result<u32, Fault> {
    let mut present = 0;
    let mut room = [httparse::EMPTY_HEADER; ROOM];
    let parsed = match httparse::parse_headers(section, &mut room) {
        Ok(httparse::Status::Complete((end, parsed))) if end == section.len() => parsed,
        Ok(_) => return Err(Fault::HeadNotWhole),
        Err(httparse::Error::TooManyHeaders) => return Err(Fault::TooManyFields),
        Err(_) => return Err(diagnosis(section)),
    };
    for header in parsed {
        let name = header.name.as_bytes();
        let kind = kind_of(name);
        let line =
            Line { name: place(section, name)?, value: place(section, trim(header.value))?, kind };
        lines.try_push(line).map_err(|_| Fault::TooManyFields)?;
        present |= kind.bit();
    }
    Ok(present)
}

impl Line {
    fn field(self, section: &[u8]) -> Field<'_> {
        let slice = |[start, end]: [u16; 2]| section.get(usize::from(start)..usize::from(end));
        Field {
            name: slice(self.name).unwrap_or_default(),
            value: slice(self.value).unwrap_or_default(),
            kind: self.kind,
        }
    }
}

/// Where `part`, a slice of `section`, begins and ends.
fn place(section: &[u8], part: &[u8]) -> Result<[u16; 2], Fault> {
    let start = part.as_ptr().addr().wrapping_sub(section.as_ptr().addr());
    let position = |at: usize| u16::try_from(at).map_err(|_| Fault::HeadTooLarge);
    Ok([position(start)?, position(start.wrapping_add(part.len()))?])
}

impl FieldKind {
    /// Whether `Connection` can name such a field away (RFC 9110 §7.6.1). The others are read
    /// whatever it says, and never passed on as they came: framing, `Host` and what is for the
    /// next hop anyway. (Three of them mean something in requests only: see
    /// [`super::write_response`].)
    const fn can_be_nominated(self) -> bool {
        matches!(
            self,
            Self::EndToEnd
                | Self::Via
                | Self::Date
                | Self::Trailer
                | Self::RequestId
                | Self::AccelBuffering
                | Self::Forwarding
        )
    }

    const fn bit(self) -> u32 {
        1 << self as u8
    }
}

pub(super) fn kind_of(name: &[u8]) -> FieldKind {
    use FieldKind as Kind;
    let known: &[(&str, Kind)] = match name.len() {
        2 => &[("te", Kind::HopByHop)],
        3 => &[("via", Kind::Via)],
        4 => &[("host", Kind::Host), ("date", Kind::Date)],
        // No field of ours, but CGI would make it a variable that programs obey.
        // `Close` is a name that no field may have, because the option would name it away
        // (RFC 9110 §7.6.1).
        5 => &[("proxy", Kind::HopByHop), ("close", Kind::HopByHop)],
        6 => &[("expect", Kind::Expect)],
        7 => &[("upgrade", Kind::Upgrade), ("trailer", Kind::Trailer)],
        // The variables of CGI: gunicorn lets a proxy it trusts set them by their own names.
        9 => &[("forwarded", Kind::Forwarding), ("path-info", Kind::EndToEnd)],
        10 => &[("connection", Kind::Connection), ("keep-alive", Kind::HopByHop)],
        11 => &[("script-name", Kind::EndToEnd), ("remote-user", Kind::EndToEnd)],
        12 => &[("max-forwards", Kind::MaxForwards), ("x-request-id", Kind::RequestId)],
        14 => &[("content-length", Kind::ContentLength)],
        15 => &[("x-forwarded-for", Kind::Forwarding)],
        16 => &[
            ("x-forwarded-host", Kind::Forwarding),
            ("x-forwarded-port", Kind::Forwarding),
            ("proxy-connection", Kind::HopByHop),
        ],
        17 => &[
            ("transfer-encoding", Kind::TransferEncoding),
            ("x-forwarded-proto", Kind::Forwarding),
            ("x-accel-buffering", Kind::AccelBuffering),
        ],
        18 => &[("proxy-authenticate", Kind::HopByHop)],
        19 => &[("proxy-authorization", Kind::HopByHop)],
        25 => &[("proxy-authentication-info", Kind::HopByHop)],
        _ => &[],
    };
    // Most names are only as long as one of these: the first letter tells.
    let first = name.first().map(u8::to_ascii_lowercase);
    let mut alike = known.iter().filter(|(known, _)| known.bytes().next() == first);
    let found = alike.find(|(known, _)| equal_as_variable(name, known));
    found.map_or(Kind::EndToEnd, |&(known, kind)| match kind {
        Kind::Forwarding | Kind::RequestId => kind,
        _ if name.eq_ignore_ascii_case(known.as_bytes()) => kind,
        // A twin such as `Content_Length` means nothing to us, and would to a program behind.
        _ => Kind::HopByHop,
    })
}

/// Whether two names of one length become the same variable in CGI (RFC 3875 §4.1.18).
pub(super) fn equal_as_variable(name: &[u8], known: &str) -> bool {
    let equal = |(&a, b): (&u8, u8)| a.eq_ignore_ascii_case(&b) || (a == b'_' && b == b'-');
    name.iter().zip(known.bytes()).all(equal)
}

/// Why the section was refused: looked for only once it was.
fn diagnosis(section: &[u8]) -> Fault {
    let mut rest = section;
    while let Some(end) = memchr::memchr(b'\n', rest) {
        let fault = match rest[..end].strip_suffix(b"\r") {
            None => Some(Fault::BareLf),
            Some(line) => line_diagnosis(line),
        };
        if let Some(fault) = fault {
            return fault;
        }
        rest = &rest[end + 1..];
    }
    // Each line has the form of a field: what remains is a byte that belongs nowhere.
    if memchr::memchr(b'\r', rest).is_some() { Fault::BareCr } else { Fault::BadField }
}

fn line_diagnosis(line: &[u8]) -> Option<Fault> {
    let colon = memchr::memchr(b':', line);
    let name = &line[..colon.unwrap_or(line.len())];
    match name {
        _ if memchr::memchr(b'\r', line).is_some() => Some(Fault::BareCr),
        [] if line.is_empty() => None,
        [b' ' | b'\t', ..] => Some(Fault::ObsFold),
        [.., b' ' | b'\t'] if colon.is_some() => Some(Fault::SpaceBeforeColon),
        _ if !is_token(name) || colon.is_none() => Some(Fault::FieldName),
        _ if !all(VALUE, &line[name.len()..]) => Some(Fault::ControlByte),
        _ => None,
    }
}

/// Space that lasts as long as a test.
#[cfg(test)]
pub(super) fn space() -> &'static mut FieldSpace {
    std::boxed::Box::leak(std::boxed::Box::default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;
    use std::vec::Vec;

    fn parse(section: &str) -> Result<Fields<'_>, Fault> {
        Fields::parse(section.as_bytes(), 128, space())
    }

    #[test]
    fn values_lose_the_space_around_them_only() {
        let fields = parse("A:b\r\nc: \t d\te \t\r\nE:\r\nf: \t \r\n\r\n").unwrap();
        let pairs: Vec<_> = fields.iter().map(|field| (field.name, field.value)).collect();
        assert_eq!(pairs, [(&b"A"[..], &b"b"[..]), (b"c", b"d\te"), (b"E", b""), (b"f", b"")]);
        assert_eq!(fields.len(), 4);
        assert_eq!(fields.named("C"), Some(&b"d\te"[..]));
        assert_eq!(fields.named("x"), None);
        assert!(parse("\r\n").unwrap().is_empty());
    }

    #[test]
    fn obs_text_is_kept() {
        let fields = Fields::parse(b"A: \xff\x80\r\n\r\n", 1, space()).unwrap();
        assert_eq!(fields.named("a"), Some(&b"\xff\x80"[..]));
    }

    #[test]
    fn malformed_fields_are_named() {
        let table = [
            ("A : b\r\n\r\n", Fault::SpaceBeforeColon),
            ("A\t: b\r\n\r\n", Fault::SpaceBeforeColon),
            ("A: b\r\n c\r\n\r\n", Fault::ObsFold),
            ("\tA: b\r\n\r\n", Fault::ObsFold),
            (": b\r\n\r\n", Fault::FieldName),
            ("A\r\n\r\n", Fault::FieldName),
            ("A: b\r\nB\r\n\r\n", Fault::FieldName),
            ("A b\r\n\r\n", Fault::FieldName),
            ("A(b): c\r\n\r\n", Fault::FieldName),
            ("Ä: c\r\n\r\n", Fault::FieldName),
            ("A: b\0\r\n\r\n", Fault::ControlByte),
            ("A: b\x7f\r\n\r\n", Fault::ControlByte),
            ("A: b\rc\r\n\r\n", Fault::BareCr),
            ("A: b\n\r\n", Fault::BareLf),
            ("A: b\r\n\n", Fault::BareLf),
            ("A: b\r\n\r", Fault::BareCr),
            ("A: b\n\rc: d\r\n\r\n", Fault::BareLf),
            ("A: b\r\n", Fault::HeadNotWhole),
            ("A: b\r\n\r\nx", Fault::HeadNotWhole),
        ];
        for (section, fault) in table {
            assert_eq!(parse(section).unwrap_err(), fault, "{section:?}");
        }
    }

    #[test]
    fn number_of_fields_is_bounded() {
        let section: String = "a: b\r\n".repeat(MAX_FIELDS) + "\r\n";
        assert_eq!(parse(&section).unwrap().len(), 128);
        assert_eq!(Fields::parse(section.as_bytes(), u16::MAX, space()).unwrap().len(), 128);
        assert_eq!(
            Fields::parse(section.as_bytes(), 127, space()).unwrap_err(),
            Fault::TooManyFields
        );
        let more = String::from("a: b\r\n") + &section;
        assert_eq!(Fields::parse(more.as_bytes(), 200, space()).unwrap_err(), Fault::TooManyFields);
    }

    #[test]
    fn kinds() {
        use FieldKind as Kind;
        let table = [
            ("HOST", Kind::Host),
            ("Content-length", Kind::ContentLength),
            ("Content_Length", Kind::HopByHop),
            ("transfer-Encoding", Kind::TransferEncoding),
            ("Connection", Kind::Connection),
            ("Upgrade", Kind::Upgrade),
            ("Expect", Kind::Expect),
            ("Via", Kind::Via),
            ("Date", Kind::Date),
            ("TE", Kind::HopByHop),
            ("Trailer", Kind::Trailer),
            ("Max-Forwards", Kind::MaxForwards),
            ("X-Request-Id", Kind::RequestId),
            ("x_request_id", Kind::RequestId),
            ("Keep-Alive", Kind::HopByHop),
            ("Proxy-Connection", Kind::HopByHop),
            ("Proxy-Authenticate", Kind::HopByHop),
            ("Proxy-Authorization", Kind::HopByHop),
            ("Proxy-Authentication-Info", Kind::HopByHop),
            ("Close", Kind::HopByHop),
            ("Forwarded", Kind::Forwarding),
            ("X-Forwarded-For", Kind::Forwarding),
            ("X_Forwarded_For", Kind::Forwarding),
            ("x-forwarded_HOST", Kind::Forwarding),
            ("X-Forwarded-Port", Kind::Forwarding),
            ("X-Accel-Buffering", Kind::AccelBuffering),
            ("X_Accel_Buffering", Kind::HopByHop),
            ("X-Accel-Redirect", Kind::EndToEnd),
            ("X-Forwarded-Proto", Kind::Forwarding),
            ("X-Real-IP", Kind::EndToEnd),
            ("Hosts", Kind::EndToEnd),
        ];
        for (name, kind) in table {
            assert_eq!(kind_of(name.as_bytes()), kind, "{name}");
        }
    }

    #[test]
    fn connection_names_what_would_be_passed_on() {
        let section = "A: 1\r\nConnection: a , X-B,close\r\nHost: h\r\nContent-Length: 1\r\n\
                       connection: host, content-length,, via\r\nx-b: 2\r\nVia: v\r\nC: 3\r\n\r\n";
        let fields = parse(section).unwrap();
        let nominated = fields.iter().filter(|field| field.kind == FieldKind::Nominated);
        let names: Vec<_> = nominated.map(|field| field.name).collect();
        assert_eq!(names, [&b"A"[..], b"x-b", b"Via"]);
        assert!(fields.has(FieldKind::Host) && !fields.has(FieldKind::Via));
        assert!(fields.has_option("close") && fields.has_option("VIA"));
        assert!(!fields.has_option("keep-alive"));
    }

    #[test]
    fn options_are_bounded() {
        let section = |count: usize| String::from("Connection: a") + &",a".repeat(count - 1);
        let most = section(MAX_OPTIONS) + "\r\n\r\n";
        assert!(parse(&most).is_ok());
        let more = section(MAX_OPTIONS + 1) + "\r\n\r\n";
        assert_eq!(parse(&more).unwrap_err(), Fault::TooManyOptions);
    }

    #[test]
    fn names_that_programs_take_for_others_are_not_passed_on() {
        for name in ["Proxy", "Content_Length", "TRANSFER_ENCODING", "transfer_Encoding"] {
            assert_eq!(kind_of(name.as_bytes()), FieldKind::HopByHop, "{name}");
        }
        for name in ["SCRIPT_NAME", "Path_Info", "remote_user"] {
            assert_eq!(kind_of(name.as_bytes()), FieldKind::HopByHop, "{name}");
            let own = name.replace('_', "-");
            assert_eq!(kind_of(own.as_bytes()), FieldKind::EndToEnd, "{own} is no variable");
        }
        assert_eq!(kind_of(b"X_Forwarded_For"), FieldKind::Forwarding);
        assert_eq!(kind_of(b"Content-Length"), FieldKind::ContentLength);
        assert_eq!(kind_of(b"Cookie"), FieldKind::EndToEnd);
    }
}
