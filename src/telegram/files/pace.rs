//! How many connections a data centre is read with: grown while more of them are of use, halved
//! when Telegram says that it is too much, as TCP does with its window. Pure.

/// Connections to begin with.
const START: usize = 2;

/// Chunks each connection has to bring before there are more of them.
const GROWS_AFTER: usize = 2;

/// The same, once Telegram has complained.
const GROWS_CAREFULLY_AFTER: usize = 64;

/// The number of connections.
#[derive(Debug)]
pub struct Pace {
    connections: usize,
    limit: usize,
    brought: usize,
    /// Telegram has not complained yet.
    is_carefree: bool,
}

impl Pace {
    /// Begins with two connections; there will never be more than `limit`.
    pub fn new(limit: usize) -> Self {
        Self {
            connections: START.min(limit),
            limit,
            brought: 0,
            is_carefree: true,
        }
    }

    /// How many connections to use.
    pub fn connections(&self) -> usize {
        self.connections
    }

    /// A chunk has come. `demand` is how many are waited for.
    pub fn brought(&mut self, demand: usize, depth: usize) {
        // More connections are of use only if they would be kept busy.
        if self.connections == self.limit || demand < (self.connections + 1) * depth * 3 / 4 {
            self.brought = 0;
            return;
        }
        self.brought += 1;
        if self.is_carefree && self.brought >= GROWS_AFTER * self.connections {
            self.grow_to(self.connections * 2);
        } else if self.brought >= GROWS_CAREFULLY_AFTER * self.connections {
            self.grow_to(self.connections + 1);
        }
    }

    /// Telegram says that it is too much.
    pub fn refused(&mut self) {
        self.connections = (self.connections / 2).max(1);
        self.brought = 0;
        self.is_carefree = false;
    }

    fn grow_to(&mut self, connections: usize) {
        self.connections = connections.min(self.limit);
        self.brought = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEPTH: usize = 4;

    fn after(pace: &mut Pace, chunks: usize, demand: usize) -> usize {
        (0..chunks).for_each(|_| pace.brought(demand, DEPTH));
        pace.connections()
    }

    #[test]
    fn it_doubles_while_there_is_demand() {
        let mut pace = Pace::new(8);
        assert_eq!(after(&mut pace, 3, 32), 2);
        assert_eq!(after(&mut pace, 1, 32), 4);
        assert_eq!(after(&mut pace, 8, 32), 8);
        assert_eq!(after(&mut pace, 1000, 32), 8);
    }

    #[test]
    fn it_does_not_grow_for_nothing() {
        let mut pace = Pace::new(8);
        assert_eq!(after(&mut pace, 1000, 8), 2);
        assert_eq!(after(&mut pace, 4, 9), 4);
        assert_eq!(after(&mut pace, 1000, 14), 4);
        assert_eq!(after(&mut Pace::new(1), 1000, 32), 1);
    }

    #[test]
    fn a_refusal_halves_it_and_makes_it_careful() {
        let mut pace = Pace::new(8);
        assert_eq!(after(&mut pace, 12, 32), 8);
        pace.refused();
        assert_eq!(pace.connections(), 4);
        assert_eq!(after(&mut pace, 255, 32), 4);
        assert_eq!(after(&mut pace, 1, 32), 5);
        for _ in 0..4 {
            pace.refused();
        }
        assert_eq!(pace.connections(), 1);
    }
}
