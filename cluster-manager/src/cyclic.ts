// Chains over equal nodes by arithmetic: nodes stand in a circle, a block is a set of places on it, and its chains
// are the block turned by every step. So every node is in as many chains as every other, at each position as often,
// and how many chains two nodes share depends only on their distance: half a circle of counters instead of a table of
// pairs. What is even for one node is even for all, and can be proved by looking at the distances.
//
// When a node is lost, the reads of its chains go to the other members of those chains: another node gets as much of
// them as it shares chains with the lost one. The counts are whole numbers that add up to targets × (copies - 1) over
// the nodes of other domains, so the mean is `meanShared`; a block is chosen so that the rarest distances come first,
// and every count stays less than `offMeanMax` from the mean (tested for every number of nodes from 3 to 1,000).
// Hence a loss is spread within ±10 % of even as soon as the mean is `offMeanMax / 10 %` = 20 shared chains, that is
// with 20 × (nodes in other domains) / (copies - 1) targets a node. With fewer, whole chains are too coarse.

/** Two nodes of different domains share fewer chains than the mean plus this, and more than the mean less this. */
export const offMeanMax = 2;

export interface Circle {
  readonly nodes: number;
  /** The node at place p is of domain p modulo this; it divides `nodes`. Equal to `nodes`: each is its own. */
  readonly domains: number;
}

/** Chains that two nodes of different domains share on average. */
export function meanShared(circle: Circle, targetsPerNode: number, replicas: number): number {
  const others = circle.nodes - circle.nodes / circle.domains;
  return (targetsPerNode * (replicas - 1)) / others;
}

/** Each block: `replicas` places, no two of one domain; the first is the head's. Needs `replicas` domains at least. */
export function cyclicBlocks(circle: Circle, replicas: number, count: number): number[][] {
  const counts = new DistanceCounts(circle);
  return Array.from({ length: count }, (_, block) => {
    // Equally rare distances are looked at from another place each time, so that blocks differ.
    const start = Math.floor(((block * goldenRatio) % 1) * (circle.nodes - 1));
    const places = [0];
    while (places.length < replicas) {
      const place = counts.bestPlace(places, start);
      for (const other of places) counts.add(place - other);
      places.push(place);
    }
    return places;
  });
}

const goldenRatio = 0.618_033_988_75;

/** How many chains two nodes at each distance share. */
export class DistanceCounts {
  readonly #circle: Circle;
  readonly #shared: Int32Array;

  constructor(circle: Circle) {
    this.#circle = circle;
    this.#shared = new Int32Array(Math.floor(circle.nodes / 2) + 1);
  }

  add(difference: number): void {
    const distance = this.#distance(difference);
    this.#shared[distance]! += this.#weight(distance);
  }

  /** The counts of the distances between nodes of different domains. */
  values(): number[] {
    return [...this.#shared].filter((_, distance) => !this.#isOneDomain(distance));
  }

  /** Where the distances to the places of the block are the rarest. */
  bestPlace(places: readonly number[], start: number): number {
    const { nodes } = this.#circle;
    let best = -1;
    let least = Number.POSITIVE_INFINITY;
    for (let step = 0; step < nodes - 1; step++) {
      const place = 1 + ((start + step) % (nodes - 1));
      const cost = this.#cost(places, place, least);
      if (cost < least) {
        least = cost;
        best = place;
      }
    }
    return best;
  }

  #cost(places: readonly number[], place: number, enough: number): number {
    let cost = 0;
    for (const [index, other] of places.entries()) {
      const distance = this.#distance(place - other);
      if (this.#isOneDomain(distance)) return Number.POSITIVE_INFINITY;
      const weight = this.#weight(distance);
      cost += 2 * this.#shared[distance]! + weight;
      for (let before = 0; before < index; before++) {
        if (this.#distance(place - places[before]!) === distance) cost += 2 * weight;
      }
      if (cost >= enough) return cost;
    }
    return cost;
  }

  #distance(difference: number): number {
    const { nodes } = this.#circle;
    const forward = ((difference % nodes) + nodes) % nodes;
    return Math.min(forward, nodes - forward);
  }

  #isOneDomain(distance: number): boolean {
    return distance % this.#circle.domains === 0;
  }

  /** Opposite nodes meet twice while the block turns once. */
  #weight(distance: number): number {
    return 2 * distance === this.#circle.nodes ? 2 : 1;
  }
}
