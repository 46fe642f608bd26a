/** How a bundle lies in an HTML file: blocks of lines that a browser does not run, one after the other. */
export const BLOCK_TYPE = 'application/x-agentguard-bundle'
/** Lines a block: the page checks one, shows how far it is, and goes on. */
export const BLOCK_LINES = 1_000
/** A browser holds the whole file and a row an entry in memory; beyond this it is no pleasure. */
export const MOST_ENTRIES = 100_000

/** Nothing in the text can end the block, and one text has one escaped form. */
export const escapeText = (text: string): string =>
  text.replace(/[&<]/g, (c) => (c === '&' ? '&amp;' : '&lt;'))

export const unescapeText = (text: string): string =>
  text.replace(/&(amp|lt);/g, (_, name) => (name === 'amp' ? '&' : '<'))
