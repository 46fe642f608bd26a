-- An organization whose people sign in through its identity provider alone: passwords are refused, but for one owner
-- who is named, so that the organization is not locked out with its provider.
ALTER TABLE single_sign_on
  ADD COLUMN required BOOLEAN NOT NULL DEFAULT false,
  ADD COLUMN break_glass_member_id TEXT,
  ADD CONSTRAINT single_sign_on_org_id_break_glass_member_id_fkey FOREIGN KEY (org_id, break_glass_member_id)
    REFERENCES members (org_id, member_id) ON DELETE RESTRICT ON UPDATE RESTRICT;

-- Signing in without naming the organization looks into all of them, and sees only what it must of this.
CREATE POLICY sign_in ON single_sign_on FOR SELECT TO agentguard_hot USING (true);
GRANT SELECT (org_id, required, break_glass_member_id) ON single_sign_on TO agentguard_hot;
