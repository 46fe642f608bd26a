import ipaddr from 'ipaddr.js'

export type Address = ipaddr.IPv4 | ipaddr.IPv6

/** What an operator permits besides the public internet (`OUTBOUND_ALLOW`). */
export interface AllowList {
  readonly hosts: ReadonlySet<string>
  readonly networks: readonly [Address, number][]
}

const HOST = /^(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]{0,62}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,62}[a-z0-9_])?)*$/

/** Reads `10.0.0.0/8`, `10.1.2.3`, `fd00::/8` and `hooks.internal`. `wrong`: the parts that are none of these. */
export function parseAllowList(parts: readonly string[]): AllowList & { readonly wrong: readonly string[] } {
  const hosts = new Set<string>()
  const networks: [Address, number][] = []
  const wrong: string[] = []
  for (const part of parts) {
    const network = networkOf(part)
    const host = part.toLowerCase()
    if (network) networks.push(network)
    // A name that ends in a number would be read as an address by URLs.
    else if (HOST.test(host) && !/(^|\.)(\d+|0x[0-9a-f]*)$/.test(host)) hosts.add(host)
    else wrong.push(part)
  }
  return { hosts, networks, wrong }
}

/** Whether an address lies in a network of the list. Families never mix: a mapped address is not an IPv4 one. */
export const inNetworks = (list: AllowList, address: Address): boolean =>
  list.networks.some(([base, bits]) => base.kind() === address.kind() && address.match(base, bits))

function networkOf(part: string): [Address, number] | null {
  const [text = '', bits, more] = part.split('/')
  if (more !== undefined) return null
  const isFour = ipaddr.IPv4.isValidFourPartDecimal(text)
  if (!isFour && !(text.includes(':') && ipaddr.IPv6.isValid(text))) return null
  const address = ipaddr.parse(text)
  const most = isFour ? 32 : 128
  if (bits === undefined) return [address, most]
  return /^\d{1,3}$/.test(bits) && Number(bits) <= most ? [address, Number(bits)] : null
}
