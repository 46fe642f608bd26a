import { Fact, Facts, Panel } from '@/components/layout'
import { Foreign, Id, Json } from '@/components/text'
import type { Schemas } from '@/lib/api'

const POLICY_OF: Readonly<Record<string, string>> = {
  agent: 'the agent’s policy',
  team: 'the policy of its team',
  organization: 'the organization’s policy',
}

/** The rules that ask for people, as they stood when the request came. */
export function AskingRules({ request }: { request: Schemas['ApprovalRequest'] }) {
  const rules = [...(request.rule ? [request.rule] : []), ...request.other_rules]
  if (rules.length === 0) return null
  return (
    <Panel title={rules.length === 1 ? 'The rule that asks' : 'The rules that ask'}>
      <ul className="flex flex-col gap-4 divide-y divide-line">
        {rules.map((rule) => (
          <li key={`${rule.policy_id}/${rule.index}`} className="not-first:pt-4">
            <Rule rule={rule} />
          </li>
        ))}
      </ul>
    </Panel>
  )
}

function Rule({ rule }: { rule: Schemas['AskingRule'] }) {
  return (
    <Facts>
      <Fact name="In">
        {POLICY_OF[rule.scope] ?? rule.scope}, version {rule.version}, {rule.list}[{rule.index}]{' '}
        <Id id={rule.policy_id} />
      </Fact>
      <Fact name="Action">
        <Foreign text={rule.action} mono />
      </Fact>
      <Fact name="Resource">
        {rule.resource === null ? 'anything' : <Foreign text={rule.resource} mono />}
      </Fact>
      <Fact name="Workflow">{rule.workflow ?? 'standard'}</Fact>
      {rule.conditions !== null && (
        <Fact name="Conditions">
          <Json label="Conditions" value={rule.conditions} />
        </Fact>
      )}
      {rule.conditions_left_out && (
        <Fact name="Conditions">too long to be shown here; the version of the policy has them</Fact>
      )}
    </Facts>
  )
}
