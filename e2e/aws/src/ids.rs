//! Names that AWS would draw at random, drawn from a seed so that a test sees the same ones every time.

/// A seeded generator of identifiers (SplitMix64, which needs one word of state and is cloned with the world).
#[derive(Clone, Debug)]
pub struct Ids {
    state: u64,
}

impl Ids {
    /// The generator for a seed.
    pub fn seeded(seed: u64) -> Self {
        Ids { state: seed }
    }

    /// The next 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// `digits` lower case hexadecimal digits.
    pub fn hex(&mut self, digits: usize) -> String {
        let mut text = String::with_capacity(digits + 16);
        while text.len() < digits {
            text.push_str(&format!("{:016x}", self.bits()));
        }
        text.truncate(digits);
        text
    }

    /// An id as EC2 makes them: `prefix-` and 17 hexadecimal digits beginning with zero.
    pub fn ec2(&mut self, prefix: &str) -> String {
        format!("{prefix}-0{}", self.hex(16))
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.bits() % end.max(1)
    }

    /// A version 4 UUID in its usual writing.
    pub fn uuid(&mut self) -> String {
        let (high, low) = (self.bits(), self.bits());
        let (a, b, c) = (high >> 32, (high >> 16) & 0xffff, high & 0x0fff);
        let (d, e) = ((low >> 48) & 0x3fff | 0x8000, low & 0xffff_ffff_ffff);
        format!("{a:08x}-{b:04x}-4{c:03x}-{d:04x}-{e:012x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_ids() {
        let (mut one, mut two) = (Ids::seeded(7), Ids::seeded(7));
        assert_eq!(
            (one.hex(16), one.uuid(), one.ec2("vpc")),
            (two.hex(16), two.uuid(), two.ec2("vpc"))
        );
        assert_ne!(one.hex(16), one.hex(16));
        assert_eq!(one.hex(33).len(), 33);
        assert_eq!(one.ec2("subnet").len(), "subnet-0123456789abcdef0".len());
    }
}
