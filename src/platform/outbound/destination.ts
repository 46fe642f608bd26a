import ipaddr from 'ipaddr.js'
import { type Address, type AllowList, inNetworks } from './allow-list.js'

/** Why a destination is refused. Stable: shown to who set the URL, and counted. */
export type Refusal =
  'url' | 'scheme' | 'credentials' | 'port' | 'host' | 'host_spelling' | 'address' | 'fragment'

export const REFUSALS: Readonly<Record<Refusal, string>> = {
  url: 'must be an absolute URL such as https://hooks.example.com/agentguard',
  scheme: 'must begin with https:// (http:// only for hosts in OUTBOUND_ALLOW)',
  credentials: 'must not contain a user name or a password',
  port: 'must use port 443 or 8443 (others only for hosts in OUTBOUND_ALLOW)',
  host: 'must name a host of the public internet',
  host_spelling: 'must write an address in its ordinary form, such as 93.184.215.14',
  address:
    'leads to an address that is private, local or reserved; a self-hoster can list it in OUTBOUND_ALLOW',
  fragment: 'must not contain a fragment (#…)',
}

export interface Destination {
  readonly url: URL
  /** Lower case, without brackets and without a dot at the end. */
  readonly host: string
  /** Set when the host is an address already, so that no name is resolved. */
  readonly literal: Address | null
  /** http, or a port out of the ordinary: every address must then be one that the operator listed. */
  readonly listed_only: boolean
}

const ORDINARY_PORTS = new Set(['', '443', '8443'])
const MAX_URL_LENGTH = 2_048

/** Public by their number, but answered by the cloud's own infrastructure. */
const METADATA = new Set(['168.63.129.16', '100.100.100.200', '169.254.169.254', '192.0.0.192'])
/** The part of IPv6 that is routed on the internet; everything else, known or not yet, is refused. */
const GLOBAL_IPV6: [ipaddr.IPv6, number] = [ipaddr.IPv6.parse('2000::'), 3]
const DOCUMENTATION_IPV6: [ipaddr.IPv6, number] = [ipaddr.IPv6.parse('3fff::'), 20]

/**
 * What can be said of a URL before any name is resolved. A URL is judged by its parsed form, which is also what is
 * connected to; its text matters only where parsers disagree about it.
 */
export function readDestination(text: string, list: AllowList): Destination | Refusal {
  if (text.length > MAX_URL_LENGTH || !/^[\x21-\x7e]+$/.test(text) || text.includes('\\')) return 'url'
  const match = /^([a-z][a-z0-9+.-]*):\/\/([^/?#]*)/i.exec(text)
  const url = URL.parse(text)
  if (!match || !url) return 'url'
  if (url.protocol !== 'https:' && url.protocol !== 'http:') return 'scheme'
  const authority = match[2] ?? ''
  if (authority === '') return 'url' // a browser takes the host from the path then, other programs do not
  if (authority.includes('@') || url.username !== '' || url.password !== '') return 'credentials'
  if (text.includes('#')) return 'fragment'
  const host = url.hostname
    .replace(/^\[|\]$/g, '')
    .replace(/\.$/, '')
    .toLowerCase()
  const literal = ipaddr.isValid(host) ? ipaddr.parse(host) : null
  const written = authority.replace(/:\d*$/, '').toLowerCase()
  // 0x7f.1, 017700000001, 2130706433, 127.1 and 1.2.3.4. are addresses to one program and names to another.
  if (literal && (literal.kind() === 'ipv4' ? written !== host : !written.startsWith('[')))
    return 'host_spelling'
  if (written.includes('%')) return 'host_spelling'
  const listed = list.hosts.has(host)
  const listed_only = !listed && (url.protocol === 'http:' || !ORDINARY_PORTS.has(url.port))
  const refusal: Refusal = url.protocol === 'http:' ? 'scheme' : 'port'
  if (listed_only && list.networks.length === 0) return refusal
  if (literal) {
    if (!mayReach(literal, list)) return 'address'
    return listed_only && !inNetworks(list, literal) ? refusal : { url, host, literal, listed_only }
  }
  if (!listed && !isPublicName(host) && list.networks.length === 0) return 'host'
  return { url, host, literal, listed_only }
}

/** Whether every one of these resolved addresses may be connected to for this destination. */
export function mayConnect(destination: Destination, addresses: readonly string[], list: AllowList): boolean {
  if (addresses.length === 0) return false
  const byName = list.hosts.has(destination.host)
  return addresses.every((text) => {
    if (!ipaddr.isValid(text) || text.includes('%')) return false
    const address = ipaddr.parse(text)
    if (inNetworks(list, address)) return true
    if (destination.listed_only) return false
    // An operator who lists a name trusts what it resolves to, but nobody means the metadata service by that.
    return byName ? !isMetadata(address) : isPublic(address)
  })
}

const mayReach = (address: Address, list: AllowList): boolean =>
  isPublic(address) || inNetworks(list, address)

/** Whether an address belongs to the public internet: routed, unicast, and not a form of another address. */
export function isPublic(address: Address): boolean {
  if (address instanceof ipaddr.IPv4)
    return address.range() === 'unicast' && !METADATA.has(address.toString())
  if (!address.match(GLOBAL_IPV6) || address.match(DOCUMENTATION_IPV6)) return false
  // ISATAP carries an IPv4 address in the last 32 bits, wherever the prefix leads (RFC 5214).
  const [, , , , high = 0, low = 0] = address.parts
  if ((high & 0xfdff) === 0 && low === 0x5efe) return false
  return address.range() === 'unicast'
}

function isMetadata(address: Address): boolean {
  if (address instanceof ipaddr.IPv4)
    return METADATA.has(address.toString()) || address.range() === 'linkLocal'
  if (address.isIPv4MappedAddress()) return isMetadata(address.toIPv4Address())
  return address.range() === 'linkLocal' || address.toString() === 'fd00:ec2::254'
}

/** Names that no public resolver answers for, or only to mislead: refused when they are set, not only when used. */
function isPublicName(host: string): boolean {
  if (!host.includes('.')) return false
  return !/\.(localhost|local|internal|intranet|lan|home|corp|test|invalid|example|onion|arpa)$/.test(host)
}
