
CREATE TRIGGER block_created AFTER INSERT ON block BEGIN
    INSERT INTO change (digest, revoked_at) VALUES (x'', NEW.created_at);
END;

CREATE TRIGGER block_changed AFTER UPDATE ON block BEGIN
    INSERT INTO change (digest) VALUES (x'');
END;

CREATE TRIGGER block_deleted AFTER DELETE ON block BEGIN
    INSERT INTO change (digest) VALUES (x'');
END;
