import type { Tx } from '../platform/database/database.service.js'
import type { ApprovalRule, PolicyVersion, PolicyVersionSummary } from './policies.dto.js'

/** What a version says besides its rules. */
type VersionRow = Pick<
  PolicyVersion,
  'policy_id' | 'version' | 'sha256' | 'rollback_of' | 'created_at' | 'created_by'
>

/**
 * A new version with its rules as JSON text. Prisma's `create` takes ten thousand rules apart, for a quarter of a second
 * and while the transaction holds the owner; on a loaded machine PostgreSQL ends one that rests for 2 s.
 */
export async function insertVersion(
  tx: Tx,
  org_id: string,
  document: string,
  row: VersionRow,
): Promise<void> {
  await tx.$executeRaw`
    INSERT INTO policy_versions (org_id, policy_id, version, document, sha256, rollback_of, created_at, created_by)
    VALUES (${org_id}, ${row.policy_id}, ${row.version}, ${document}::jsonb, ${row.sha256}, ${row.rollback_of},
            ${row.created_at}, ${row.created_by})`
}

/** Versions of a policy, newest first, without their rules: these are counted in the database and stay there. */
export function selectVersions(
  tx: Tx,
  org_id: string,
  policy_id: string,
  limit: number,
  offset: number,
): Promise<PolicyVersionSummary[]> {
  return tx.$queryRaw<PolicyVersionSummary[]>`
    SELECT version, sha256, rollback_of, created_at, created_by,
           jsonb_build_object(
             'allow', jsonb_array_length(document -> 'allow'),
             'deny', jsonb_array_length(document -> 'deny'),
             'require_approval', jsonb_array_length(document -> 'require_approval')) AS rules
    FROM policy_versions WHERE org_id = ${org_id} AND policy_id = ${policy_id}
    ORDER BY version DESC LIMIT ${limit} OFFSET ${offset}`
}

/** Where an approval rule stands: a policy version and its place in the list. */
export interface ApprovalRulePlace {
  readonly policy_id: string
  readonly version: number
  readonly index: number
}

/**
 * Approval rules as they stand in versions, in the order of `places`; null: there is no such. Conditions whose text is
 * longer than `most` characters are left out, and said to be (`long`).
 */
export async function selectApprovalRules(
  tx: Tx,
  org_id: string,
  places: readonly ApprovalRulePlace[],
  most: number,
): Promise<{ rule: ApprovalRule | null; long: boolean }[]> {
  return tx.$queryRaw<{ rule: ApprovalRule | null; long: boolean }[]>`
    SELECT CASE WHEN c.long THEN r.rule - 'conditions' ELSE r.rule END AS rule, c.long
    FROM unnest(${places.map(({ policy_id }) => policy_id)}::text[], ${places.map(({ version }) => version)}::integer[],
                ${places.map(({ index }) => index)}::integer[]) WITH ORDINALITY AS p (policy_id, version, at, ord)
    LEFT JOIN policy_versions v ON v.org_id = ${org_id} AND v.policy_id = p.policy_id AND v.version = p.version
    CROSS JOIN LATERAL (SELECT v.document -> 'require_approval' -> p.at AS rule) r
    CROSS JOIN LATERAL (SELECT coalesce(length((r.rule -> 'conditions')::text), 0) > ${most} AS long) c
    ORDER BY p.ord`
}

/**
 * Policies of teams and of the organization change one at a time, so that versions have no gaps: each of them raises
 * the organization's version anyway.
 */
export async function lockOrganization(tx: Tx, org_id: string): Promise<void> {
  await tx.$queryRaw`SELECT FROM organizations WHERE org_id = ${org_id} FOR NO KEY UPDATE`
}
