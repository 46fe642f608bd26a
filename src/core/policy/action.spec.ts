import * as fc from 'fast-check'
import { ACTION_LIMIT, readAction } from './action.js'

const keyOf = (raw: string): string => {
  const result = readAction(raw)
  return result.ok ? result.value.key : `refused: ${result.errors}`
}

/** `read|fi|le`: the letters of an action with a bar at each inner boundary. */
const divided = (raw: string): string => {
  const result = readAction(raw)
  if (!result.ok) return result.errors
  const { letters, boundaries } = result.value
  return [...letters].map((letter, i) => (i > 0 && boundaries[i] === 1 ? `|${letter}` : letter)).join('')
}

describe('readAction', () => {
  it.each([
    ['read:file', 'read:file'],
    ['read file', 'read:file'],
    ['Read File', 'read:file'],
    ['READ FILE', 'read:file'],
    ['read-file', 'read:file'],
    ['Read-File', 'read:file'],
    ['-read-file-', 'read:file'],
    ['read_file', 'read:file'],
    ['read__file', 'read:file'],
    ['WRITE_FILE', 'write:file'],
    ['readFile', 'read:file'],
    ['ReadFile', 'read:file'],
    ['readFILE', 'read:file'],
    ['read.file', 'read:file'],
    ['read/file', 'read:file'],
    ['  read  file  ', 'read:file'],
    ['\tread\tfile\t', 'read:file'],
    ['read\r\nfile', 'read:file'],
    ['read\u00a0file', 'read:file'],
    ['read\u3000file', 'read:file'],
    ['ｒｅａｄ：ｆｉｌｅ', 'read:file'],
    ['read : file', 'read:file'],
    ['Read:User-Data', 'read:user_data'],
    ['send-Email', 'send:email'],
    ['readPDFFile', 'read:pdf_file'],
    ['HTTPGet', 'http:get'],
    ['getHTTP', 'get:http'],
    ['XMLHttpRequest2', 'xml:http_request2'],
    ['s3GetObject', 's3get:object'],
    ['a:b:c', 'a:b_c'],
    ['rEaD fIlE', 'r:ea_d_f_il_e'],
    ['send external email', 'send:external_email'],
    ['sendExternalEmail', 'send:external_email'],
    ['send_external_email', 'send:external_email'],
    ['send:external_email', 'send:external_email'],
    ['read', 'read'],
    ['READ', 'read'],
    ['7', '7'],
    ['\u212aelvin', 'kelvin'],
  ])('reads %j as %s', (raw, key) => {
    expect(keyOf(raw)).toBe(key)
  })

  it.each([
    ['', 'no letters'],
    ['   ', 'no letters'],
    ['-', 'no letters'],
    ['__', 'no letters'],
    ['read:*', 'only rules'],
    ['read?', 'only rules'],
    ['[read]', 'only rules'],
    ['read:＊', 'only rules'],
    ['read\u0000file', 'not plain text'],
    ['read\u001bfile', 'not plain text'],
    ['read\u007f', 'not plain text'],
    ['re\u200bad', 'not plain text'],
    ['re\u00adad', 'not plain text'],
    ['read\u2028file', 'not plain text'],
    ['lösche:datei', 'not plain text'],
    ['rеad:file', 'not plain text'], // a Cyrillic е
    ['read 📁', 'not plain text'],
    ['read\ud800', 'not plain text'],
    ['a'.repeat(ACTION_LIMIT + 1), 'longer than 256'],
    ['aB'.repeat(ACTION_LIMIT / 2), 'longer than 256'], // its key would be
  ])('refuses %j and says how to write it', (raw, message) => {
    expect(keyOf(raw)).toMatch(/^refused: The action /)
    expect(keyOf(raw)).toContain(message)
  })

  it('reads an action of exactly 256 characters', () => {
    expect(keyOf('a'.repeat(ACTION_LIMIT))).toHaveLength(ACTION_LIMIT)
  })

  it.each([
    ['read file', 'read|file'],
    ['READ FILE', 'read|file'],
    ['readFile', 'read|f|ile'],
    ['Read file', 'r|ead|file'],
    ['deLete file', 'de|l|ete|file'],
    ['readPDF', 'read|p|d|f'],
    ['READFILE', 'r|e|a|d|f|i|l|e'],
    ['read', 'r|e|a|d'],
    [' read ', 'r|e|a|d'],
    ['delete2file now', 'delete2file|now'],
  ])('finds the boundaries of %j: %s', (raw, bars) => {
    expect(divided(raw)).toBe(bars)
  })

  it('keeps what the agent sent, one boundary place more than letters, and boundaries at both ends', () => {
    const text = fc.string({ unit: fc.constantFrom(...'abzABZ09 _:-'), maxLength: 40 })
    fc.assert(
      fc.property(text, (raw) => {
        const result = readAction(raw)
        if (!result.ok) return
        const { words, letters, boundaries } = result.value
        expect(result.value.raw).toBe(raw)
        expect(letters).toBe(words.join(''))
        expect(boundaries).toHaveLength(letters.length + 1)
        expect([boundaries[0], boundaries.at(-1)]).toEqual([1, 1])
        // Every division of words is a boundary: what an allow rule divides, a deny rule sees divided.
        let place = 0
        for (const word of words) expect(boundaries[(place += word.length)]).toBe(1)
      }),
      { numRuns: 5_000 },
    )
  })

  it('answers any text with a reading or a message, never a throw', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 300 }), (raw) => typeof keyOf(raw) === 'string'),
      { numRuns: 5_000 },
    )
  })
})
