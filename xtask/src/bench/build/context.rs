//! What is built: a project with many files, and one with several stages.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// Bytes of a usual file, between these.
const FILE: std::ops::Range<u64> = 4_000..92_000;
/// Every so many files is a large one.
const LARGE_EVERY: usize = 200;
const LARGE: u64 = 4_000_000;
const DIRECTORIES: usize = 100;

const PROJECT: &str = "\
FROM bench/base
WORKDIR /app
COPY package.json ./
RUN echo installed > installed
COPY . .
RUN echo built > built
CMD [\"/bin/sh\"]
";

/// Three stages that do not need each other, and one that takes from all of them.
const STAGES: &str = "\
FROM bench/base AS sources
WORKDIR /src
COPY . .
RUN for f in data/*; do gzip -c $f > /src/$(basename $f).gz; done

FROM bench/base AS sums
WORKDIR /sums
COPY data data
RUN sha256sum data/* > sums; sha512sum data/* >> sums

FROM bench/base AS tools
RUN mkdir -p /opt/tools && for n in $(seq 1 400); do echo $n > /opt/tools/$n; done
RUN sleep 0.5; find /opt/tools -type f | sort > /opt/tools/list

FROM bench/base
COPY --from=sources /src /app/src
COPY --from=sums /sums/sums /app/sums
COPY --from=tools /opt/tools /opt/tools
RUN ls -l /app/src /opt/tools > /app/list
";

/// The large context.
pub(super) struct Context {
    pub(super) path: PathBuf,
}

impl Context {
    /// Makes about so many megabytes of source files, the same on every machine.
    pub(super) fn make(path: &Path, megabytes: u64) -> anyhow::Result<Self> {
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let mut left = megabytes * 1_000_000;
        let mut number = 0;
        while left > 0 {
            number += 1;
            let size = if number % LARGE_EVERY == 0 {
                LARGE
            } else {
                FILE.start + random.next() % (FILE.end - FILE.start)
            };
            let size = size.min(left);
            left -= size;
            let directory = path.join(format!("src/{}", number % DIRECTORIES));
            fs_err::create_dir_all(&directory)?;
            fill(&directory.join(format!("{number}.js")), size, &mut random)?;
        }
        fs_err::write(path.join("package.json"), "{}\n")?;
        fs_err::write(path.join("Dockerfile"), PROJECT)?;
        println!("a context of {number} files, {megabytes} MB");
        Ok(Self {
            path: path.to_owned(),
        })
    }

    /// Changes one file.
    pub(super) fn change(&self, text: &str) -> anyhow::Result<()> {
        let path = self.path.join("src/7/7.js");
        fs_err::write(&path, format!("// {text}\n"))?;
        Ok(())
    }
}

/// The project with several stages.
pub(super) fn stages(path: &Path) -> anyhow::Result<PathBuf> {
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    fs_err::create_dir_all(path.join("data"))?;
    for number in 0..12 {
        fill(&path.join(format!("data/{number}")), 2_000_000, &mut random)?;
    }
    fs_err::write(path.join("Dockerfile"), STAGES)?;
    Ok(path.to_owned())
}

/// Makes sure that nobody has built it before.
pub(super) fn renew(path: &Path, text: &str) -> anyhow::Result<()> {
    Ok(fs_err::write(path.join("data/nonce"), text)?)
}

/// Text that compresses to about a half.
fn fill(path: &Path, size: u64, random: &mut Random) -> anyhow::Result<()> {
    let mut file = std::io::BufWriter::new(fs_err::File::create(path)?);
    let mut written = 0;
    while written < size {
        let line = format!("let v{:08x} = {:016x};\n", written, random.next());
        let rest = usize::try_from(size - written).context("size")?;
        let bytes = &line.as_bytes()[..line.len().min(rest)];
        file.write_all(bytes)?;
        written += bytes.len() as u64;
    }
    Ok(file.flush()?)
}

/// xorshift64*: the same numbers every time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}
