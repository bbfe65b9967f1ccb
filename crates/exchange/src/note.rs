//! What logs tell of a request's head. The head itself is rewritten and given back long before
//! the exchange is over, so these few pieces are copied aside, into space of a fixed size.

use wire::http1::Version;

/// One piece of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// The method.
    Method,
    /// The request target, as the server meets it.
    Target,
    /// The host it is for.
    Host,
    /// `User-Agent` (RFC 9110 §10.1.5).
    UserAgent,
    /// `Referer` (RFC 9110 §10.1.3).
    Referer,
    /// Who the client is, as far as it had to show that.
    User,
}

impl Piece {
    /// Every piece, in the order in which they stand one behind the other.
    pub const ALL: [Self; 6] =
        [Self::Method, Self::Target, Self::Host, Self::UserAgent, Self::Referer, Self::User];
    const COUNT: usize = Self::ALL.len();

    /// What it may take of `space` while the others have need of theirs. The target gets what
    /// they leave.
    const fn share(self, space: usize) -> usize {
        match self {
            Self::Method => space / 16,
            Self::Target => 0,
            Self::Host | Self::User => space / 8,
            Self::UserAgent | Self::Referer => space * 3 / 16,
        }
    }
}

/// Where the pieces of a note stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pieces {
    lengths: [u16; Piece::COUNT],
    /// One bit for each piece that did not fit and was cut.
    cut: u8,
    /// Major and minor version as one number; 0 if none is known.
    version: u8,
}

impl Pieces {
    /// Nothing.
    pub const NONE: Self = Self { lengths: [0; Piece::COUNT], cut: 0, version: 0 };

    /// Bytes in which [`to_bytes`](Self::to_bytes) writes it.
    pub const BYTES: usize = 2 * Piece::COUNT + 2;

    /// Whether nothing is noted.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Bytes of all pieces together.
    pub fn len(&self) -> usize {
        self.lengths.iter().map(|length| usize::from(*length)).sum()
    }

    /// The piece, in the `text` that begins with the first one; empty if there is none.
    pub fn get<'t>(&self, piece: Piece, text: &'t [u8]) -> &'t [u8] {
        let at = piece as usize;
        let start: usize = self.lengths[..at].iter().map(|length| usize::from(*length)).sum();
        text.get(start..start + usize::from(self.lengths[at])).unwrap_or_default()
    }

    /// Whether the piece is only the beginning of what was sent.
    pub const fn is_cut(&self, piece: Piece) -> bool {
        self.cut & 1 << piece as u8 != 0
    }

    /// The client's version.
    pub const fn version(&self) -> Option<Version> {
        match self.version {
            10 => Some(Version::V10),
            11 => Some(Version::V11),
            _ => None,
        }
    }

    /// As bytes, to be read with [`from_bytes`](Self::from_bytes).
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        for (place, length) in bytes.chunks_exact_mut(2).zip(self.lengths) {
            place.copy_from_slice(&length.to_le_bytes());
        }
        bytes[Self::BYTES - 2] = self.cut;
        bytes[Self::BYTES - 1] = self.version;
        bytes
    }

    /// What [`to_bytes`](Self::to_bytes) wrote.
    pub fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        let [.., cut, version] = bytes;
        let lengths =
            core::array::from_fn(|at| u16::from_le_bytes([bytes[2 * at], bytes[2 * at + 1]]));
        Self { lengths, cut, version }
    }
}

/// Where a proxy notes what logs tell of the head it reads.
#[derive(Debug)]
pub struct Note<'n> {
    space: &'n mut [u8],
    pieces: &'n mut Pieces,
}

impl<'n> Note<'n> {
    /// A note in `space`, at most 64 KiB of which are used.
    pub const fn new(space: &'n mut [u8], pieces: &'n mut Pieces) -> Self {
        Self { space, pieces }
    }

    /// Whether nothing is noted yet.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Notes these pieces, each given in two parts, in the order of [`Piece::ALL`]. What does
    /// not fit is cut; long ones leave each other a share.
    pub fn write(&mut self, version: Option<Version>, pieces: [[&[u8]; 2]; Piece::COUNT]) {
        let space = self.space.len().min(usize::from(u16::MAX));
        let wanted = pieces.map(|[first, second]| first.len() + second.len());
        let lengths = fit(wanted, space);
        *self.pieces = Pieces::default();
        self.pieces.version = match version {
            Some(Version::V10) => 10,
            Some(Version::V11) => 11,
            None => 0,
        };
        let mut at = 0;
        for (index, [first, second]) in pieces.into_iter().enumerate() {
            let length = lengths[index];
            let taken = first.len().min(length);
            let (head, tail) = self.space[at..at + length].split_at_mut(taken);
            head.copy_from_slice(&first[..taken]);
            tail.copy_from_slice(&second[..length - taken]);
            at += length;
            self.pieces.lengths[index] = u16::try_from(length).unwrap_or(u16::MAX);
            if length < wanted[index] {
                self.pieces.cut |= 1 << index;
            }
        }
    }
}

/// How much of each piece fits into `space`.
fn fit(wanted: [usize; Piece::COUNT], space: usize) -> [usize; Piece::COUNT] {
    if wanted.iter().sum::<usize>() <= space {
        return wanted;
    }
    let mut lengths = Piece::ALL.map(|piece| wanted[piece as usize].min(piece.share(space)));
    let mut left = space - lengths.iter().sum::<usize>();
    for piece in
        [Piece::Target, Piece::Host, Piece::User, Piece::UserAgent, Piece::Referer, Piece::Method]
    {
        let more = (wanted[piece as usize] - lengths[piece as usize]).min(left);
        lengths[piece as usize] += more;
        left -= more;
    }
    lengths
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noted<'s>(space: &'s mut [u8], pieces: [&str; 6]) -> ([&'s [u8]; 6], Pieces) {
        let mut kept = Pieces::default();
        let parts = pieces.map(|piece| {
            let (first, second) = piece.as_bytes().split_at(piece.len() / 2);
            [first, second]
        });
        Note::new(space, &mut kept).write(Some(Version::V11), parts);
        let text = &space[..kept.len()];
        (Piece::ALL.map(|piece| kept.get(piece, text)), kept)
    }

    #[test]
    fn what_fits_is_kept_as_it_is() {
        let mut space = [0; 64];
        let all = ["GET", "/a?b", "example.org:80", "curl/8", "", "me"];
        let (pieces, kept) = noted(&mut space, all);
        assert_eq!(pieces, all.map(str::as_bytes));
        assert!(Piece::ALL.iter().all(|piece| !kept.is_cut(*piece)));
        assert_eq!(kept.version(), Some(Version::V11));
        assert_eq!(Pieces::from_bytes(kept.to_bytes()), kept);
        assert!(!kept.is_empty() && Pieces::default().is_empty());
    }

    #[test]
    fn long_pieces_leave_the_others_their_share() {
        let mut space = [0; 256];
        let long = "x".repeat(1000);
        let (pieces, kept) = noted(&mut space, ["GET", &long, "h", &long, &long, "me"]);
        assert_eq!(pieces.map(<[u8]>::len), [3, 256 - 3 - 1 - 48 - 48 - 2, 1, 48, 48, 2]);
        let cut = Piece::ALL.map(|piece| kept.is_cut(piece));
        assert_eq!(cut, [false, true, false, true, true, false]);
        assert_eq!(Pieces::from_bytes(kept.to_bytes()), kept);
    }

    #[test]
    fn what_the_others_do_not_need_goes_to_who_does() {
        let mut space = [0; 256];
        let long = "x".repeat(300);
        let (pieces, _) = noted(&mut space, ["GET", "/", "h", &long, "", ""]);
        assert_eq!(pieces.map(<[u8]>::len), [3, 1, 1, 251, 0, 0]);
        let (pieces, kept) = noted(&mut space, [&long, &long, &long, &long, &long, &long]);
        assert_eq!(pieces.map(<[u8]>::len), [16, 80, 32, 48, 48, 32]);
        assert_eq!(kept.len(), 256);
        let (pieces, kept) = noted(&mut [], ["GET", "/", "", "", "", ""]);
        assert!(pieces.iter().all(|piece| piece.is_empty()) && kept.is_cut(Piece::Target));
    }
}
