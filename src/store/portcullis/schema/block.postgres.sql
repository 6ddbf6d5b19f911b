
CREATE FUNCTION block_changed() RETURNS trigger
    LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM note_change('', CASE WHEN TG_OP = 'INSERT' THEN NEW.created_at END);
    RETURN NULL;
END
$$;

CREATE TRIGGER block_changed AFTER INSERT OR UPDATE OR DELETE ON block
    FOR EACH ROW EXECUTE FUNCTION block_changed();

CREATE TRIGGER block_emptied AFTER TRUNCATE ON block
    FOR EACH STATEMENT EXECUTE FUNCTION block_changed();
