import { setImmediate as settled } from 'node:timers/promises'
import { costOf, Turn, type TurnLimits, Turns } from './turns'

const LIMITS: TurnLimits = {
  all: 16,
  shared: 8,
  least: 2,
  busiest: 1,
  alone_after_ms: 1_000,
  beside_ms: 900,
  max_waiting: 4,
  max_wait_ms: 100,
  refusal: 'ledger_busy',
}

/** Asks, and remembers what came of it. */
class Asker {
  readonly turns: Turn[] = []
  refused = 0

  constructor(
    private readonly all: Turns,
    private readonly name: string,
  ) {}

  ask(count: number, cost = 1): void {
    for (let i = 0; i < count; i++) {
      try {
        const turn = this.all.take(this.name, cost)
        if (turn instanceof Turn) this.turns.push(turn)
        else
          turn.then(
            (begun) => this.turns.push(begun),
            () => this.refused++,
          )
      } catch {
        this.refused++
      }
    }
  }

  end(count = 1): void {
    for (const turn of this.turns.splice(0, count)) turn.end()
  }
}

function world() {
  let now = 0
  const turns = new Turns(LIMITS, () => now)
  const asker = (name: string) => new Asker(turns, name)
  return { asker, pass: (ms: number) => (now += ms) }
}

describe('an organization that asks alone', () => {
  it('has everything', () => {
    const one = world().asker('one')
    one.ask(LIMITS.all)
    expect(one.turns).toHaveLength(LIMITS.all)
  })

  it('has everything again some time after the last of the others', async () => {
    const { asker, pass } = world()
    const [one, other] = [asker('one'), asker('other')]
    other.ask(1)
    other.end()
    one.ask(LIMITS.all)
    expect(one.turns).toHaveLength(LIMITS.shared / 2)
    pass(LIMITS.alone_after_ms + 1)
    one.end()
    await settled()
    expect(one.turns).toHaveLength(LIMITS.shared / 2 - 1 + LIMITS.max_waiting) // all that waited
  })
})

describe('beside others', () => {
  it('a flood has its share open, the next ones wait, and the others come in at once', async () => {
    const { asker } = world()
    const [flood, quiet] = [asker('flood'), asker('quiet')]
    quiet.ask(1)
    quiet.end()
    flood.ask(100)
    expect(flood.turns).toHaveLength(LIMITS.shared / 2)
    expect(flood.refused).toBe(100 - LIMITS.shared / 2 - LIMITS.max_waiting)
    quiet.ask(LIMITS.least)
    expect(quiet.turns).toHaveLength(LIMITS.least)
    quiet.end(LIMITS.least)
    flood.end()
    await settled()
    expect(flood.turns).toHaveLength(LIMITS.shared / 2) // the first that waited
  })

  it('who was served more than the others lately has little open, and more again when it asks less', async () => {
    const { asker, pass } = world()
    const [flood, quiet] = [asker('flood'), asker('quiet')]
    const share = LIMITS.shared / 2
    for (let served = 0; served <= LIMITS.shared; served++) {
      quiet.ask(served % 4 === 0 ? 1 : 0)
      quiet.end()
      flood.ask(1)
      flood.end()
    }
    flood.ask(share)
    quiet.ask(LIMITS.least)
    await settled()
    expect(flood.turns).toHaveLength(LIMITS.busiest)
    expect(quiet.turns).toHaveLength(LIMITS.least)
    pass(1_001) // what was served counts half: no more than what is shared out
    flood.end()
    await settled()
    expect(flood.turns.length).toBeGreaterThan(LIMITS.busiest)
  })

  it('whoever was served most has its share again as soon as nobody else asks any more', async () => {
    const { asker, pass } = world()
    const [flood, quiet] = [asker('flood'), asker('quiet')]
    for (let served = 0; served < 20; served++) {
      quiet.ask(served % 4 === 0 ? 1 : 0)
      quiet.end()
      flood.ask(1)
      flood.end()
    }
    flood.ask(4)
    expect(flood.turns).toHaveLength(LIMITS.busiest)
    pass(LIMITS.beside_ms + 1)
    flood.end()
    await settled()
    expect(flood.turns.length).toBeGreaterThan(LIMITS.busiest)
  })

  it('a long turn is followed by a rest as long, while others ask', async () => {
    const { asker, pass } = world()
    const [flood, quiet] = [asker('flood'), asker('quiet')]
    const meanwhile = async () => {
      quiet.ask(1)
      quiet.end()
      await settled()
    }
    await meanwhile()
    flood.ask(2, 10)
    pass(30)
    flood.end()
    pass(29)
    await meanwhile()
    expect(flood.turns).toHaveLength(0)
    pass(1)
    await meanwhile()
    expect(flood.turns).toHaveLength(1)
  })

  it('a rest ends by itself', async () => {
    const turns = new Turns({ ...LIMITS, max_wait_ms: 60_000 })
    const [flood, quiet] = [new Asker(turns, 'flood'), new Asker(turns, 'quiet')]
    quiet.ask(1)
    quiet.end()
    flood.ask(2, 10)
    flood.end()
    while (flood.turns.length === 0) await settled()
  })

  it('who asks alone does not rest', async () => {
    const { asker, pass } = world()
    const [flood, quiet] = [asker('flood'), asker('quiet')]
    quiet.ask(1)
    quiet.end()
    flood.ask(2, 10)
    pass(LIMITS.beside_ms + 1)
    flood.end()
    await settled()
    expect(flood.turns).toHaveLength(1)
  })

  it('comes in also when others have filled everything', () => {
    const { asker } = world()
    const [flood, quiet] = [asker('flood'), asker('quiet')]
    flood.ask(LIMITS.all)
    quiet.ask(LIMITS.least)
    expect(quiet.turns).toHaveLength(LIMITS.least)
  })

  it('those that wait are served in turns', async () => {
    const { asker } = world()
    const [first, second] = [asker('first'), asker('second')]
    first.ask(1)
    second.ask(1)
    first.ask(5)
    second.ask(5)
    const before = [first.turns.length, second.turns.length]
    first.end()
    second.end()
    await settled()
    expect([first.turns.length, second.turns.length]).toEqual(before)
  })

  it('what is larger than a share goes by itself', async () => {
    const { asker } = world()
    const [flood, quiet] = [asker('flood'), asker('quiet')]
    quiet.ask(1)
    flood.ask(2, 10)
    expect(flood.turns).toHaveLength(1)
    flood.end()
    await settled()
    expect(flood.turns).toHaveLength(1)
    expect(flood.refused).toBe(0)
  })

  it('a turn that ends twice frees its place once', async () => {
    const { asker } = world()
    const [one, other] = [asker('one'), asker('other')]
    other.ask(1)
    one.ask(3)
    const [turn] = one.turns
    turn?.end()
    turn?.end()
    one.ask(3)
    await settled()
    expect(one.turns.filter((begun) => begun !== turn)).toHaveLength(2)
  })
})

describe('whose turn does not come in time', () => {
  beforeEach(() => jest.useFakeTimers())
  afterEach(() => jest.useRealTimers())

  it('is refused a few at a time', async () => {
    let now = 0
    const turns = new Turns({ ...LIMITS, max_waiting: 100 }, () => now)
    const [flood, quiet] = [new Asker(turns, 'flood'), new Asker(turns, 'quiet')]
    quiet.ask(1)
    flood.ask(LIMITS.shared / 2 + 80)
    now += LIMITS.max_wait_ms
    const refused: number[] = []
    while (flood.refused < 64) {
      const before = flood.refused
      jest.advanceTimersByTime(5)
      await settled()
      refused.push(flood.refused - before)
    }
    expect(Math.max(...refused)).toBe(6) // a sixteenth of all that wait
    expect(Math.min(...refused)).toBe(4)
  })
})

describe('a cost', () => {
  it('is 1 for an ordinary request', () => {
    expect(costOf(300, 1, 1 << 20)).toBe(1)
  })

  it('counts the items that a batch can hold, and its bytes', () => {
    expect(costOf(320, 100, 1 << 20)).toBe(10)
    expect(costOf(1 << 20, 100, 1 << 20)).toBe(100 + 64)
  })

  it('of a body that is not announced is that of the longest', () => {
    expect(costOf(null, 100, 1 << 20)).toBe(costOf(1 << 20, 100, 1 << 20))
  })
})
