//! What can be wrong with what a peer sent.

/// What is wrong with a message. Whose fault it is, is told by the call that refused: a request
/// is the client's, a response the upstream's (and then answered 502 whatever [`Fault::status`]
/// says).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// LF without CR before it (RFC 9112 §2.2).
    BareLf,
    /// CR without LF after it (RFC 9112 §2.2).
    BareCr,
    /// NUL or another control byte where text belongs (RFC 9110 §5.5).
    ControlByte,
    /// A request that does not begin with a token: another protocol, such as TLS.
    NotAToken,
    /// A request line that is not `method SP target SP version` (RFC 9112 §3).
    BadRequestLine,
    /// A version that is not `HTTP/x.y` (RFC 9112 §2.3).
    BadVersion,
    /// A version other than 1.x, the preface of HTTP/2 included (RFC 9110 §15.6.6).
    VersionNotSupported,
    /// A status line that is not `version SP 3DIGIT [SP reason]` (RFC 9112 §4).
    BadStatusLine,
    /// 101 to what was not asked for, or before the request was whole (RFC 9110 §15.2.2).
    UnaskedSwitch,
    /// A head that does not end where its bytes do.
    HeadNotWhole,
    /// A body that ends before its framing says so (RFC 9112 §8).
    BodyNotWhole,
    /// White space between a field's name and its colon (RFC 9112 §5.1).
    SpaceBeforeColon,
    /// A field continued on the next line (RFC 9112 §5.2).
    ObsFold,
    /// A field whose name is no token (RFC 9110 §5.1).
    FieldName,
    /// A field that is wrong in another way.
    BadField,
    /// More field lines than allowed.
    TooManyFields,
    /// `Connection` names more options than allowed.
    TooManyOptions,
    /// HTTP/1.1 without `Host` (RFC 9112 §3.2).
    HostMissing,
    /// More than one `Host` (RFC 9112 §3.2).
    HostRepeated,
    /// A host that is not `uri-host [":" port]` (RFC 9110 §4.2, §7.2).
    HostInvalid,
    /// A request target of no form that fits the method (RFC 9112 §3.2).
    BadTarget,
    /// A longer request target than allowed (RFC 9110 §15.5.15).
    TargetTooLong,
    /// A longer head than allowed (RFC 6585 §5).
    HeadTooLarge,
    /// `Content-Length` beside `Transfer-Encoding` (RFC 9112 §6.1).
    LengthAndCoding,
    /// `Content-Length` more than once, be it with equal values (RFC 9112 §6.3).
    LengthDiffers,
    /// A `Content-Length` that is no number below 2^64 (RFC 9110 §8.6).
    LengthInvalid,
    /// `Transfer-Encoding` in HTTP/1.0 (RFC 9112 §6.1).
    CodingInOldVersion,
    /// A transfer coding other than `chunked`, below it (RFC 9112 §6.1).
    CodingUnknown,
    /// `chunked` is not the last coding, or stands there twice (RFC 9112 §6.3, §7.1).
    CodingNotFinal,
    /// A `Transfer-Encoding` that is no list of codings, or `chunked` with parameters.
    CodingInvalid,
    /// CONNECT, which only a forward proxy serves (RFC 9110 §9.3.6).
    ConnectNotSupported,
    /// TRACE that may go no further (RFC 9110 §7.6.2): see [`super::RequestHead::max_forwards`].
    TraceNotSupported,
    /// TRACE with a body, which no client may send (RFC 9110 §9.3.8).
    TraceWithBody,
    /// A target in absolute-form whose scheme is not the connection's (RFC 9110 §7.4).
    SchemeMisdirected,
    /// A `Max-Forwards` of OPTIONS or TRACE that is no number or stands there twice
    /// (RFC 9110 §7.6.2).
    MaxForwardsInvalid,
    /// A chunk size that is not 1 to 16 hexadecimal digits (RFC 9112 §7.1).
    ChunkSize,
    /// A chunk extension that is malformed or too long (RFC 9112 §7.1.1).
    ChunkExtension,
    /// Chunk data that is not followed by CRLF (RFC 9112 §7.1).
    ChunkEnd,
    /// A trailer section that is no list of fields (RFC 9112 §7.1.2).
    BadTrailer,
    /// A longer trailer section than allowed.
    TrailerTooLarge,
}

impl Fault {
    /// The status that answers a request with this fault.
    pub const fn status(self) -> u16 {
        match self {
            Self::TargetTooLong => 414,
            Self::HeadTooLarge | Self::TooManyFields => 431,
            Self::SchemeMisdirected => 421,
            Self::CodingUnknown | Self::ConnectNotSupported | Self::TraceNotSupported => 501,
            Self::VersionNotSupported => 505,
            _ => 400,
        }
    }

    /// The fault in a few words: for bodies, logs and counters.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::BareLf => "line ends in LF without CR",
            Self::BareCr => "CR without LF",
            Self::ControlByte => "control byte in head",
            Self::NotAToken => "not an HTTP/1 request",
            Self::BadRequestLine => "malformed request line",
            Self::BadVersion => "malformed HTTP version",
            Self::VersionNotSupported => "HTTP version not supported",
            Self::BadStatusLine => "malformed status line",
            Self::UnaskedSwitch => "switched protocols unasked",
            Self::HeadNotWhole => "head not whole",
            Self::BodyNotWhole => "body not whole",
            Self::SpaceBeforeColon => "space before colon",
            Self::ObsFold => "folded field line",
            Self::FieldName => "malformed field name",
            Self::BadField => "malformed field",
            Self::TooManyFields => "too many fields",
            Self::TooManyOptions => "too many connection options",
            Self::HostMissing => "Host missing",
            Self::HostRepeated => "Host repeated",
            Self::HostInvalid => "Host invalid",
            Self::BadTarget => "malformed request target",
            Self::TargetTooLong => "request target too long",
            Self::HeadTooLarge => "head too large",
            Self::LengthAndCoding => "both Content-Length and Transfer-Encoding",
            Self::LengthDiffers => "Content-Length repeated",
            Self::LengthInvalid => "Content-Length invalid",
            Self::CodingInOldVersion => "Transfer-Encoding in HTTP/1.0",
            Self::CodingUnknown => "transfer coding not implemented",
            Self::CodingNotFinal => "chunked is not the final transfer coding",
            Self::CodingInvalid => "Transfer-Encoding invalid",
            Self::ConnectNotSupported => "CONNECT not supported",
            Self::TraceNotSupported => "TRACE is not answered here",
            Self::TraceWithBody => "TRACE with a body",
            Self::SchemeMisdirected => "target scheme is not the connection's",
            Self::MaxForwardsInvalid => "Max-Forwards invalid",
            Self::ChunkSize => "chunk size invalid",
            Self::ChunkExtension => "chunk extension invalid",
            Self::ChunkEnd => "chunk data not followed by CRLF",
            Self::BadTrailer => "malformed trailer section",
            Self::TrailerTooLarge => "trailer section too large",
        }
    }
}
