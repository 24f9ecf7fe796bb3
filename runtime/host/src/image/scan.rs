//! Whether a JPEG file has all of its picture (ITU-T T.81): its Huffman codes are read and counted, not decoded. Decoders fill up what is
//! missing, in the middle or at the end, and say nothing.

/// Decoders take at most so many scans; a file that refines them without end is none that a camera made.
const MAX_SCANS: usize = 100;

/// A file that is whole.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Whole {
    /// What a decoder needs of the file: its tables, frame and scans, colours and orientation, without the end marker, and without what lies
    /// between segments.
    pub(super) file: Vec<u8>,
    /// Components: 1, 3 or 4.
    pub(super) components: usize,
}

/// A component of the picture.
#[derive(Debug)]
struct Component {
    id: u8,
    /// Blocks in an MCU, across and down.
    sampling: [usize; 2],
    /// Blocks of the component by itself, across and down.
    blocks: [usize; 2],
    /// The lowest bit that is there of each coefficient; none before its first scan.
    low: [Option<u8>; 64],
    /// In progressive files: which coefficients of each block are not zero.
    nonzero: Vec<u64>,
}

/// What a frame's header says.
#[derive(Debug)]
struct Frame {
    is_progressive: bool,
    size: [usize; 2],
    /// The largest sampling factors.
    most: [usize; 2],
    components: Vec<Component>,
}

/// A Huffman table: for each 16 bits that may come, the length of the code that they begin with, and its symbol.
type Table = Box<[[u8; 2]]>;

/// A file that is read.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    frame: Option<Frame>,
    /// Four for DC coefficients, four for AC.
    tables: [[Option<Table>; 4]; 2],
    /// MCUs between restart markers; 0 if there are none.
    restart: usize,
    scans: usize,
    /// Huffman tables that were read.
    read: usize,
    /// Whether a segment of JFIF's was there, and the colours as Adobe's says them.
    is_jfif: bool,
    adobe: Option<u8>,
    /// See [`Whole`].
    file: Vec<u8>,
}

/// A scan's header.
struct Scan {
    /// Numbers of the components, with those of their tables.
    components: Vec<(usize, [usize; 2])>,
    /// The first and the last coefficient, in the order of the zigzag.
    band: [usize; 2],
    /// The bit that was the lowest before, 0 in the first scan, and the one that is now.
    high: u8,
    low: u8,
}

/// Width and height in pixels of a JPEG file, if they can be found.
pub(super) fn size(bytes: &[u8]) -> Result<[usize; 2], String> {
    let mut reader = Reader::new(bytes);
    loop {
        if let Some(frame) = &reader.frame {
            return Ok(frame.size);
        }
        if reader.segment()?.is_none() {
            return Err(format!("it is cut off at byte {}, in its header", bytes.len()));
        }
    }
}

/// Reads a file to its end marker, or to its end if all of the picture is there.
///
/// # Errors
/// What is missing or wrong, and where.
pub(super) fn check(bytes: &[u8]) -> Result<Whole, String> {
    let mut reader = Reader::new(bytes);
    loop {
        match reader.segment()? {
            Some(0xd9) => return reader.whole(false),
            Some(_) => {}
            None => return reader.whole(true),
        }
    }
}

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader {
            bytes,
            at: 0,
            frame: None,
            tables: Default::default(),
            restart: 0,
            scans: 0,
            read: 0,
            is_jfif: false,
            adobe: None,
            file: vec![0xff, 0xd8],
        }
    }

    /// Reads to the next marker and what belongs to it, and says which it was; none if the file ends before.
    fn segment(&mut self) -> Result<Option<u8>, String> {
        // What is between segments is passed over, as libjpeg does.
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let is_marker = |pair: &[u8]| matches!(pair, [0xff, code] if !matches!(code, 0 | 0xff));
        let Some(skipped) = rest.windows(2).position(is_marker) else { return Ok(None) };
        let (place, code) = (self.at + skipped, rest.get(skipped + 1).copied().unwrap_or_default());
        self.at = place + 2;
        // Markers without a segment: TEM, restarts, the beginning and the end of the image.
        if matches!(code, 0x01 | 0xd0..=0xd9) {
            return Ok(Some(code));
        }
        let Some([high, low]) = self.bytes.get(self.at..self.at + 2) else { return Ok(None) };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let Some(segment) = self.bytes.get(self.at + 2..self.at + length.max(2)) else { return Ok(None) };
        self.at += length.max(2);
        let wrong = || format!("the segment {code:#04x} at byte {place} is invalid");
        match code {
            0xc0..=0xc2 => self.frame(code == 0xc2, segment).ok_or_else(wrong)??,
            0xc4 => self.huffman(segment).ok_or_else(wrong)?,
            0xc3 | 0xc5..=0xcf => {
                let kind = match code {
                    0xc3 => "lossless",
                    0xc5..=0xc7 => "hierarchical",
                    _ => "arithmetic coding",
                };
                return Err(format!(
                    "its kind, {kind} (marker {code:#04x} at byte {place}), is not supported; save it as baseline"
                ));
            }
            0xda => {
                let scan = self.scan_header(segment).ok_or_else(wrong)?;
                if let Some(frame) = &self.frame
                    && !frame.is_progressive
                    && scan.components.len() < frame.components.len()
                    && frame.most[1] > 1
                {
                    // The decoder mixes up their rows.
                    return Err(format!(
                        "its kind, a scan for each of several components with rows left out (at byte {place}), is not supported; save it as baseline"
                    ));
                }
                self.scans += 1;
                if self.scans > MAX_SCANS {
                    return Err(format!("it has more than {MAX_SCANS} scans"));
                }
                if self.scans == 1 {
                    self.colours();
                }
                self.scan(&scan)?;
            }
            0xe0 => self.is_jfif |= segment.starts_with(b"JFIF\0"),
            // Two numbers of a version and flags come before the colours. A shorter segment says nothing.
            0xee if segment.starts_with(b"Adobe") => self.adobe = segment.get(11).copied().or(self.adobe),
            0xdd => self.restart = usize::from(u16::from_be_bytes(*segment.first_chunk().ok_or_else(wrong)?)),
            _ => {}
        }
        let is_exif = code == 0xe1 && segment.starts_with(b"Exif\0\0");
        if is_exif || matches!(code, 0xc0..=0xc2 | 0xc4 | 0xda | 0xdb | 0xdd) {
            self.file.extend_from_slice(self.bytes.get(place..self.at).unwrap_or_default());
        }
        Ok(Some(code))
    }

    /// Says the colours as libjpeg finds them: what Adobe's segment says counts for three only if JFIF's is not there.
    fn colours(&mut self) {
        let components = self.frame.as_ref().map_or(0, |frame| frame.components.len());
        let transform = match (components, self.adobe) {
            (3, Some(transform)) if !self.is_jfif => transform.min(1),
            (4, Some(0)) => 0,
            (4, Some(_)) => 2,
            _ => return,
        };
        self.file.extend_from_slice(b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0");
        self.file.push(transform);
    }

    /// A frame's header; none if it is too short.
    fn frame(&mut self, is_progressive: bool, segment: &[u8]) -> Option<Result<(), String>> {
        let ([precision, h0, h1, w0, w1, count], rest) = segment.split_first_chunk()?;
        let size = [[*w0, *w1], [*h0, *h1]].map(|bytes| usize::from(u16::from_be_bytes(bytes)));
        if *precision != 8 {
            return Some(Err(format!("its {precision} bits for a sample are not supported; save it with 8")));
        }
        if ![1, 3, 4].contains(count) || self.frame.is_some() {
            return Some(Err(format!(
                "its {count} components in another frame, or of an unknown kind, are not supported"
            )));
        }
        if size.contains(&0) {
            return Some(Err(format!("its {} x {} pixels are none", size[0], size[1])));
        }
        let mut components = Vec::new();
        for part in rest.get(..usize::from(*count) * 3)?.as_chunks::<3>().0 {
            let [id, sampling, _] = *part;
            let sampling = [sampling >> 4, sampling & 15].map(usize::from);
            if !sampling.iter().all(|factor| (1..=4).contains(factor)) {
                return None;
            }
            components.push(Component { id, sampling, blocks: [0; 2], low: [None; 64], nonzero: Vec::new() });
        }
        let most = [0, 1].map(|side| components.iter().map(|component| component.sampling[side]).max().unwrap_or(1));
        for component in &mut components {
            component.blocks = [0, 1].map(|side| (size[side] * component.sampling[side]).div_ceil(most[side] * 8));
        }
        self.frame = Some(Frame { is_progressive, size, most, components });
        Some(Ok(()))
    }

    /// Huffman tables; none if one is not complete, or has more codes than there can be, or if there are more than any scan asks for.
    fn huffman(&mut self, mut segment: &[u8]) -> Option<()> {
        while let Some((kind, rest)) = segment.split_first() {
            let (counts, rest) = rest.split_first_chunk::<16>()?;
            let total: usize = counts.iter().map(|count| usize::from(*count)).sum();
            self.read += 1;
            if self.read > 8 * MAX_SCANS {
                return None;
            }
            let mut symbols = rest.get(..total)?.iter();
            segment = rest.get(total..)?;
            let mut table = vec![[0; 2]; 1 << 16].into_boxed_slice();
            let mut next = 0;
            for (length, count) in (1_u8..).zip(counts) {
                let span = 1_usize << (16 - length);
                for symbol in symbols.by_ref().take(usize::from(*count)) {
                    table.get_mut(next..next + span)?.fill([length, *symbol]);
                    next += span;
                }
            }
            *self.tables.get_mut(usize::from(kind >> 4))?.get_mut(usize::from(kind & 15))? = Some(table);
        }
        Some(())
    }

    /// A scan's header; none if it is invalid, or comes before the frame's.
    fn scan_header(&self, segment: &[u8]) -> Option<Scan> {
        let frame = self.frame.as_ref()?;
        let (count, rest) = segment.split_first()?;
        let count = usize::from(*count);
        let mut components = Vec::new();
        for [id, tables] in rest.get(..count * 2)?.as_chunks::<2>().0 {
            let number = frame.components.iter().position(|component| component.id == *id)?;
            if components.iter().any(|(other, _)| *other == number) {
                return None;
            }
            components.push((number, [tables >> 4, tables & 15].map(usize::from)));
        }
        let [first, last, bits] = *rest.get(count * 2..)?.first_chunk()?;
        let (mut band, mut high, mut low) = ([first, last].map(usize::from), bits >> 4, bits & 15);
        if !frame.is_progressive {
            (band, high, low) = ([0, 63], 0, 0);
        }
        let is_dc = band[0] == 0;
        let good = !components.is_empty()
            && band[0] <= band[1]
            && band[1] < 64
            && low < 14
            && (!frame.is_progressive || if is_dc { band[1] == 0 } else { count == 1 });
        good.then_some(Scan { components, band, high, low })
    }

    /// Reads a scan's codes.
    fn scan(&mut self, scan: &Scan) -> Result<(), String> {
        let Reader { bytes, frame: Some(frame), tables, restart, scans, .. } = self else { return Ok(()) };
        let mut bits = Bits { bytes, at: self.at, held: 0, count: 0 };
        let single = scan.components.len() == 1;
        let mut blocks = Vec::new();
        for (number, chosen) in &scan.components {
            let Some(component) = frame.components.get_mut(*number) else { continue };
            let in_mcu = if single { 1 } else { component.sampling[0] * component.sampling[1] };
            let table = |kind: usize| tables.get(kind).and_then(|tables| tables.get(*chosen.get(kind)?)?.as_deref());
            blocks.push((*number, in_mcu, [table(0), table(1)]));
            if frame.is_progressive && component.nonzero.is_empty() {
                component.nonzero = vec![0; component.blocks[0] * component.blocks[1]];
            }
        }
        let [across, down] = match blocks.first() {
            Some((number, ..)) if single => frame.components.get(*number).map_or([0; 2], |component| component.blocks),
            _ => [0, 1].map(|side| frame.size[side].div_ceil(frame.most[side] * 8)),
        };
        // Rows of pixels in one of MCUs.
        let height = frame.size[1].div_ceil(down.max(1)).next_multiple_of(8);
        let (mut run, mut restarts) = (0, 0);
        for mcu in 0..across * down {
            let row = mcu / across;
            let failed =
                |fault: Fault, bits: &Bits| fault.text(bits, *scans, (row * height).min(frame.size[1]), frame.size[1]);
            if *restart > 0 && mcu > 0 && mcu % *restart == 0 {
                bits.restart(restarts).map_err(|fault| failed(fault, &bits))?;
                (run, restarts) = (0, restarts + 1);
            }
            for (number, in_mcu, tables) in &blocks {
                for _ in 0..*in_mcu {
                    let read = if frame.is_progressive {
                        let nonzero =
                            frame.components.get_mut(*number).and_then(|component| component.nonzero.get_mut(mcu));
                        // Scans of several components are of DC coefficients, which are not marked.
                        bits.progressive(scan, *tables, nonzero.unwrap_or(&mut 0), &mut run)
                    } else {
                        bits.sequential(*tables)
                    };
                    read.map_err(|fault| failed(fault, &bits))?;
                }
            }
        }
        for (number, _) in &scan.components {
            let Some(component) = frame.components.get_mut(*number) else { continue };
            component.low.iter_mut().take(scan.band[1] + 1).skip(scan.band[0]).for_each(|low| *low = Some(scan.low));
        }
        // Bytes that were read ahead begin no marker, and are not asked for again.
        self.at = bits.at;
        Ok(())
    }

    /// What is known of the file at its end.
    fn whole(self, is_cut: bool) -> Result<Whole, String> {
        let at = self.bytes.len();
        let Some(frame) = &self.frame else { return Err(format!("it ends at byte {at} without a frame")) };
        let components = frame.components.iter();
        // Without the end marker more scans could have been to come, unless every coefficient is there to its last bit.
        let lacks = |component: &Component| match is_cut {
            true => component.low.iter().any(|low| *low != Some(0)),
            false => component.low[0].is_none(),
        };
        match components.clone().position(lacks) {
            Some(number) if is_cut => Err(format!(
                "it is cut off at byte {at}, after {} scans: component {number} is not complete",
                self.scans
            )),
            Some(number) => Err(format!("it ends before byte {} without component {number}", self.at)),
            None => Ok(Whole { components: frame.components.len(), file: self.file }),
        }
    }
}

/// What is wrong in a scan.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// The file ends.
    End,
    /// A marker comes before all codes have.
    Marker,
    /// No restart marker comes, or not the next one.
    Restart,
    /// A code that is in no table, or a table that is not there.
    Code,
    /// More coefficients than a block has.
    Block,
}

impl Fault {
    fn text(self, bits: &Bits, scan: usize, rows: usize, all: usize) -> String {
        let at = bits.at;
        let place = format!("in scan {scan}, {rows} of {all} rows are there");
        match self {
            Fault::End => format!("it is cut off at byte {at}: {place}"),
            Fault::Marker => format!("picture data are missing at byte {at}, where a marker comes: {place}"),
            Fault::Restart => format!("a restart marker is missing at byte {at}: {place}"),
            Fault::Code => format!("there is an invalid code before byte {at}: {place}"),
            Fault::Block => format!("there are too many coefficients before byte {at}: {place}"),
        }
    }
}

/// Bits of a scan, the highest of a byte first.
struct Bits<'a> {
    bytes: &'a [u8],
    /// Of the next byte that has not been read.
    at: usize,
    held: u64,
    count: u32,
}

/// Tables for DC and AC coefficients.
type Tables<'t> = [Option<&'t [[u8; 2]]>; 2];

impl Bits<'_> {
    /// Reads bytes until 16 bits are there, or a marker or the end comes.
    fn fill(&mut self) {
        while self.count < 16 {
            let byte = match self.bytes.get(self.at..) {
                Some([0xff, 0, ..]) => {
                    self.at += 1;
                    0xff
                }
                Some([byte, ..]) if *byte != 0xff => *byte,
                _ => return,
            };
            self.at += 1;
            self.held = self.held << 8 | u64::from(byte);
            self.count += 8;
        }
    }

    /// Passes over bits, which must be there, and gives them.
    fn take(&mut self, count: u32) -> Result<u64, Fault> {
        self.fill();
        if count > self.count {
            // A byte of 0xff is the beginning of a marker, of which the rest may be cut off too.
            let rest = self.bytes.get(self.at..).unwrap_or_default();
            return Err(if rest.iter().all(|byte| *byte == 0xff) { Fault::End } else { Fault::Marker });
        }
        self.count -= count;
        Ok(self.held >> self.count & ((1 << count) - 1))
    }

    /// The next symbol.
    fn symbol(&mut self, table: Option<&[[u8; 2]]>) -> Result<u8, Fault> {
        self.fill();
        let ahead = if self.count >= 16 { self.held >> (self.count - 16) } else { self.held << (16 - self.count) };
        let [length, symbol] = table.and_then(|table| table.get(ahead as usize & 0xffff)).copied().unwrap_or([0; 2]);
        // What bits there are may begin a code that the end cuts off.
        match length {
            0 if self.count >= 16 || table.is_none() => Err(Fault::Code),
            0 => self.take(16).and(Err(Fault::Code)),
            _ => self.take(length.into()).map(|_| symbol),
        }
    }

    /// A block of a sequential file.
    fn sequential(&mut self, [dc, ac]: Tables) -> Result<(), Fault> {
        self.dc(dc)?;
        let mut next = 1;
        while next < 64 {
            let symbol = self.symbol(ac)?;
            let (zeros, size) = (usize::from(symbol >> 4), symbol & 15);
            match size {
                0 if zeros < 15 => return Ok(()),
                _ => next += zeros + 1,
            }
            self.take(size.into())?;
        }
        if next > 64 { Err(Fault::Block) } else { Ok(()) }
    }

    fn dc(&mut self, table: Option<&[[u8; 2]]>) -> Result<(), Fault> {
        match self.symbol(table)? {
            size @ 0..=15 => self.take(size.into()).map(|_| ()),
            _ => Err(Fault::Code),
        }
    }

    /// A block of a scan of a progressive file. `run` counts blocks that have no more coefficients.
    fn progressive(&mut self, scan: &Scan, [dc, ac]: Tables, nonzero: &mut u64, run: &mut u64) -> Result<(), Fault> {
        match (scan.band, scan.high) {
            ([0, _], 0) => self.dc(dc),
            ([0, _], _) => self.take(1).map(|_| ()),
            (band, 0) => self.first(band, ac, nonzero, run),
            (band, _) => self.refined(band, ac, nonzero, run),
        }
    }

    fn first(
        &mut self,
        [first, last]: [usize; 2],
        table: Option<&[[u8; 2]]>,
        nonzero: &mut u64,
        run: &mut u64,
    ) -> Result<(), Fault> {
        if *run > 0 {
            *run -= 1;
            return Ok(());
        }
        let mut next = first;
        while next <= last {
            let symbol = self.symbol(table)?;
            let (zeros, size) = (symbol >> 4, symbol & 15);
            if size == 0 && zeros < 15 {
                *run = (1 << zeros) - 1 + self.take(zeros.into())?;
                return Ok(());
            }
            next += usize::from(zeros);
            if next > last {
                return Err(Fault::Block);
            }
            self.take(size.into())?;
            *nonzero |= u64::from(size > 0) << next;
            next += 1;
        }
        Ok(())
    }

    fn refined(
        &mut self,
        [first, last]: [usize; 2],
        table: Option<&[[u8; 2]]>,
        nonzero: &mut u64,
        run: &mut u64,
    ) -> Result<(), Fault> {
        let before = *nonzero;
        let mut next = first;
        while *run == 0 && next <= last {
            let symbol = self.symbol(table)?;
            let (mut zeros, size) = (symbol >> 4, symbol & 15);
            if size == 0 && zeros < 15 {
                *run = (1 << zeros) + self.take(zeros.into())?;
                break;
            }
            self.take(u32::from(size > 0))?;
            // Coefficients that are there have a bit each; of the others as many are passed over.
            while next <= last {
                if before >> next & 1 == 1 {
                    self.take(1)?;
                } else if zeros == 0 {
                    break;
                } else {
                    zeros -= 1;
                }
                next += 1;
            }
            if next > last && size > 0 {
                return Err(Fault::Block);
            }
            if size > 0 {
                *nonzero |= 1 << next;
            }
            next += 1;
        }
        if *run > 0 {
            for place in next..=last {
                self.take((before >> place & 1) as u32)?;
            }
            *run -= 1;
        }
        Ok(())
    }

    /// Passes over the restart marker that comes after `before` others.
    fn restart(&mut self, before: usize) -> Result<(), Fault> {
        (self.held, self.count) = (0, 0);
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let fill = rest.iter().take_while(|byte| **byte == 0xff).count();
        match rest.get(fill) {
            Some(code) if fill > 0 && usize::from(*code) == 0xd0 + before % 8 => {
                self.at += fill + 1;
                Ok(())
            }
            None => Err(Fault::End),
            _ => Err(Fault::Restart),
        }
    }
}
