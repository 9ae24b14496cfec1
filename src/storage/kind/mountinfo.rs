//! Reading `/proc/self/mountinfo` (proc_pid_mountinfo(5)). Pure functions over its text.

/// One line of it, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    /// As `st_dev` shows it.
    pub device: u64,
    /// Where it is mounted, bytes as they are (escapes undone).
    pub point: Vec<u8>,
    /// Type and, for FUSE, subtype: `fuse.sshfs`.
    pub fstype: String,
    /// What is mounted, as whoever mounted it said.
    pub source: String,
    /// The superblock's options.
    pub options: String,
}

/// All lines that can be understood, in their order.
pub(crate) fn parse(text: &[u8]) -> Vec<Mount> {
    text.split(|byte| *byte == b'\n').filter_map(parse_line).collect()
}

/// `36 35 98:0 /root /point rw,noatime master:1 - ext3 /dev/root rw,errors=continue`
fn parse_line(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let (major, minor) = std::str::from_utf8(fields.nth(2)?).ok()?.split_once(':')?;
    let point = unescape(fields.nth(1)?);
    fields.find(|field| *field == b"-")?;
    let fstype = String::from_utf8_lossy(&unescape(fields.next()?)).into_owned();
    let source =
        fields.next().map(unescape).map(|field| String::from_utf8_lossy(&field).into_owned()).unwrap_or_default();
    let options = fields.next().map(|field| String::from_utf8_lossy(field).into_owned()).unwrap_or_default();
    let device = rustix::fs::makedev(major.parse().ok()?, minor.parse().ok()?);
    Some(Mount { device, point, fstype, source, options })
}

/// Undoes the kernel's `\ooo` (three octal digits) for blanks, tabs, newlines and backslashes.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        let digits = tail.get(..3).filter(|digits| digits.iter().all(|digit| (b'0'..=b'7').contains(digit)));
        match digits {
            Some(digits) if first == b'\\' => {
                let value = digits.iter().fold(0u32, |value, digit| value * 8 + u32::from(digit - b'0'));
                plain.push(value as u8);
                rest = &tail[3..];
            }
            _ => {
                plain.push(first);
                rest = tail;
            }
        }
    }
    plain
}

/// The mount that `path` (absolute, without symbolic links) is on: of those with its device the longest, else the longest
/// (btrfs shows another device to `stat` than here); of equals the last, which lies on top.
pub(crate) fn mount_of<'a>(mounts: &'a [Mount], path: &[u8], device: Option<u64>) -> Option<&'a Mount> {
    let holds = |mount: &&Mount| {
        let point = mount.point.strip_suffix(b"/").unwrap_or(&mount.point);
        path.strip_prefix(point).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
    };
    let longest = |mine: &dyn Fn(&&Mount) -> bool| mounts.iter().filter(mine).max_by_key(|mount| mount.point.len());
    longest(&|mount| holds(mount) && Some(mount.device) == device).or_else(|| longest(&holds))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &[u8] = br"22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,errors=remount-ro
90 27 0:50 / /mnt/share rw,relatime - nfs4 srv:/x rw,vers=4.2,addr=10.0.0.1
91 27 0:51 / /mnt/my\040disk\011x rw,nosuid shared:7 master:3 - fuse.sshfs me@host:/\040a rw,user_id=0
92 27 0:52 /sub /mnt/share/deep rw - 9p tag rw,cache=loose,trans=virtio
93 27 0:53 / /over rw - tmpfs tmpfs rw
94 27 0:54 / /over rw - xfs /dev/vdb rw
nonsense
95 27 x:y / /bad rw - ext4 a rw
96 27 0:55 / /half rw
97 27 0:56 / /none rw - virtiofs tag
";

    fn at(path: &str, device: Option<(u32, u32)>) -> String {
        let mounts = parse(SAMPLE);
        let device = device.map(|(major, minor)| rustix::fs::makedev(major, minor));
        mount_of(&mounts, path.as_bytes(), device).map(|mount| mount.fstype.clone()).unwrap_or_default()
    }

    #[test]
    fn lines_are_read_and_broken_ones_left_out() {
        let mounts = parse(SAMPLE);
        assert_eq!(mounts.len(), 8);
        assert_eq!(mounts[1].options, "rw,errors=remount-ro");
        assert_eq!((mounts[3].fstype.as_str(), mounts[3].source.as_str()), ("fuse.sshfs", "me@host:/ a"));
        assert_eq!(mounts[7].options, "");
        assert!(parse(b"").is_empty());
    }

    #[test]
    fn octal_escapes_are_undone() {
        assert_eq!(parse(SAMPLE)[3].point, b"/mnt/my disk\tx");
        assert_eq!(unescape(br"a\134b"), br"a\b");
        assert_eq!(unescape(br"\04"), br"\04");
        assert_eq!(unescape(br"\999\"), br"\999\");
        assert_eq!(at("/mnt/my disk\tx/file", None), "fuse.sshfs");
    }

    #[test]
    fn the_longest_mount_point_wins_and_whole_names_only() {
        assert_eq!(at("/mnt/share/db", None), "nfs4");
        assert_eq!(at("/mnt/share", None), "nfs4");
        assert_eq!(at("/mnt/share2/db", None), "ext4");
        assert_eq!(at("/mnt/share/deep/db", None), "9p");
        assert_eq!(at("/", None), "ext4");
    }

    #[test]
    fn of_two_mounts_on_one_point_the_device_decides_else_the_later() {
        assert_eq!(at("/over/db", None), "xfs");
        assert_eq!(at("/over/db", Some((0, 53))), "tmpfs");
        assert_eq!(at("/over/db", Some((9, 99))), "xfs");
        // The path's device belongs to a mount that does not hold it: not believed.
        assert_eq!(at("/home/db", Some((0, 50))), "ext4");
    }
}
