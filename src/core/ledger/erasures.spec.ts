import { Erasures } from './erasures.js'

const redaction = (from: number, upto: number, agent_id?: string) => ({
  from,
  upto,
  count: 1,
  reason: 'test',
  ...(agent_id !== undefined && { agent_id }),
})

describe('payloads that are gone', () => {
  it('are accounted for by the entry that records their erasure', () => {
    const erasures = new Erasures()
    erasures.lost(3, 'a')
    erasures.lost(5, 'a')
    expect(erasures.first_unrecorded).toBe(3)
    erasures.recorded(redaction(3, 5, 'a'))
    expect(erasures.first_unrecorded).toBeNull()
  })

  it('are not accounted for by an erasure of another agent, or of other entries', () => {
    const erasures = new Erasures()
    erasures.lost(3, 'a')
    erasures.recorded(redaction(0, 9, 'b'))
    erasures.recorded(redaction(4, 9, 'a'))
    expect(erasures.first_unrecorded).toBe(3)
  })

  it('are not accounted for by an erasure that was recorded before', () => {
    const erasures = new Erasures()
    erasures.recorded(redaction(0, 9))
    erasures.lost(3, 'a')
    expect(erasures.first_unrecorded).toBe(3)
  })

  it('are accounted for one by one, whoever else lies between', () => {
    const erasures = new Erasures()
    erasures.lost(1, 'a')
    erasures.lost(5, 'a')
    erasures.recorded(redaction(1, 1))
    expect(erasures.first_unrecorded).toBe(5)
  })

  it('are accounted for piece by piece, whoever they belong to', () => {
    const erasures = new Erasures()
    for (let index = 0; index < 10; index++) erasures.lost(index, index % 2 ? 'a' : null)
    erasures.recorded(redaction(2, 7))
    expect(erasures.first_unrecorded).toBe(0)
    erasures.recorded(redaction(0, 1))
    expect(erasures.first_unrecorded).toBe(8)
    erasures.recorded(redaction(8, 9))
    expect(erasures.first_unrecorded).toBeNull()
  })
})
